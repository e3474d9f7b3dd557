import numpy as np
import pytest

from hwnas.accelerators import dataflow_costs, layers_of
from hwnas.accelerators.points import points_of
from hwnas.cosearch import DesignEvaluator, Specs
from hwnas.spaces import Architecture
from hwnas.testing.oracles.scheduling import check_schedule


def test_costs_are_those_of_the_networks_on_the_chip(tables):
    evaluator = DesignEvaluator(tables, Specs())
    row = tables.joint.sample(1, np.random.default_rng(3))[0]

    latency, energy, area = evaluator.costs(row[None])[0]

    # Without a latency spec every layer runs where it takes least energy.
    own = points_of(tables.hardware, tables.joint.split(row[None])[-1])[0]
    least = 0.0
    for program, part in zip(tables.programs, tables.joint.split(row[None]), strict=False):
        space = program.space
        network = space.network(Architecture(space.name, tuple(part[0].tolist())))
        costs = dataflow_costs(layers_of(network), tables.points, tables.technology)
        least += costs.energy_j[:, own[own >= 0]].min(axis=1).sum()
    assert energy == pytest.approx(least)
    assert area == pytest.approx(tables.area_mm2[own[own >= 0]].sum())
    assert latency > 0


def test_a_schedule_is_one_and_has_the_costs_that_it_says(tables, middling_specs):
    evaluator = DesignEvaluator(tables, middling_specs)
    population = tables.joint.sample(20, np.random.default_rng(0))
    costs = evaluator.costs(population)

    for row, (latency, energy, area) in zip(population, costs, strict=True):
        found = evaluator.schedule(row, exact_labels=0)

        present = found.points >= 0
        cycles = np.full((len(tables.layers), len(found.points)), np.inf)
        joules = cycles.copy()
        cycles[:, present] = tables.cycles[:, found.points[present]]
        joules[:, present] = tables.energy_j[:, found.points[present]]
        assert found.latency_cycles == latency
        assert found.energy_j == energy
        assert found.area_mm2 == area
        if np.isfinite(latency):
            again = check_schedule(
                cycles, joules, found.layers, found.assignment, found.start_cycles
            )
            assert again == pytest.approx((latency, energy))


def test_exact_schedules_are_no_worse(tables, middling_specs):
    evaluator = DesignEvaluator(tables, middling_specs)
    population = tables.joint.sample(10, np.random.default_rng(1))

    for row in population:
        quick = evaluator.schedule(row, exact_labels=0)
        exact = evaluator.schedule(row, exact_labels=20_000)

        limit = middling_specs.latency_cycles
        if quick.latency_cycles <= limit:
            assert exact.latency_cycles <= limit
            assert exact.energy_j <= quick.energy_j
        assert quick.energy_bound_j <= exact.energy_bound_j


def test_each_design_is_scheduled_once(tables):
    evaluator = DesignEvaluator(tables, Specs())
    population = np.repeat(tables.joint.sample(5, np.random.default_rng(0)), 3, axis=0)

    first = evaluator.costs(population)
    again = evaluator.costs(population[::-1])

    assert len(evaluator) == len(np.unique(population, axis=0))
    np.testing.assert_array_equal(first[::-1], again)


def test_no_design_has_no_costs(tables):
    nothing = np.empty((0, len(tables.joint.decisions)), np.uint8)

    assert DesignEvaluator(tables, Specs()).costs(nothing).shape == (0, 3)
