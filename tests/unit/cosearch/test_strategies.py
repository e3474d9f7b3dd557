"""What all ways to co-search promise, and what each of them is for."""

from dataclasses import replace

import numpy as np
import pytest

from hwnas.cosearch import STRATEGIES, Specs
from hwnas.cosearch.episodes import Episodes
from hwnas.cosearch.problem import explored_penalty
from hwnas.errors import RunError

NEVER = Specs(latency_cycles=1.0)


class StoppedError(Exception):
    """Stands for a kill."""


def searched(problem, name, options, seed=0):
    search = STRATEGIES[name](problem, options, np.random.default_rng(seed))
    search.run(lambda share: None)
    return search


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_seed_gives_the_same_designs(name, make_problem, options):
    one, two = (searched(make_problem()[0], name, options, seed=4) for _ in range(2))

    np.testing.assert_array_equal(one.designs.population, two.designs.population)
    assert one.handed_over() == two.handed_over()


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_search_that_was_stopped_goes_on_to_the_same_result(name, steps, make_problem, options):
    if name == "nsga2":
        options = replace(options, episodes=100)
    unbroken = searched(make_problem()[0], name, options)
    search = STRATEGIES[name](make_problem()[0], options, np.random.default_rng(0))
    states = []

    def stop(share):
        states.append(search.state())
        if len(states) == steps:
            raise StoppedError

    with pytest.raises(StoppedError):
        search.run(stop)
    resumed = STRATEGIES[name](make_problem()[0], options, np.random.default_rng(0))
    resumed.restore(states[-1])
    resumed.run(lambda share: None)

    np.testing.assert_array_equal(resumed.designs.population, unbroken.designs.population)
    np.testing.assert_array_equal(resumed.designs.history.costs, unbroken.designs.history.costs)
    assert resumed.handed_over() == unbroken.handed_over()


@pytest.mark.parametrize("name", ["nasaic", "nsga2", "hardware-first"])
def test_the_best_design_that_meets_the_specs_is_handed_over(name, make_problem, options):
    problem, _ = make_problem()

    search = searched(problem, name, options)

    designs, chosen = search.designs, search.handed_over()
    meets = designs.history.violation <= 0
    assert meets.any()
    assert meets[chosen]
    assert designs.weighted_error[chosen] == np.nanmin(designs.weighted_error[meets])
    again = problem.evaluator.costs(designs.population[chosen][None])[0]
    np.testing.assert_array_equal(designs.costs[chosen], again)


@pytest.mark.parametrize("name", STRATEGIES)
def test_where_nothing_meets_the_specs_the_nearest_miss_is_handed_over(
    name, make_problem, options
):
    problem, estimators = make_problem(NEVER)

    search = searched(problem, name, options)

    designs = search.designs
    assert designs.history.violation[search.handed_over()] == designs.history.violation.min() > 0
    assert len(designs.front()) == 0
    assert designs.best() is None
    if name != "network-first":
        assert not any(estimator.asked for estimator in estimators)


def test_networks_are_asked_for_only_where_some_chip_of_the_episode_serves_them(
    make_problem, options
):
    problem, _ = make_problem()

    designs = searched(problem, "nasaic", options).designs

    served = set()
    for episode in range(options.episodes):
        rows = designs.history.generation == episode
        assert rows.sum() == 1 + options.hardware_steps
        networks = designs.population[rows][:, : problem.network_columns]
        assert (networks == networks[0]).all()
        some = (designs.history.violation[rows] <= 0).any()
        assert np.isfinite(designs.weighted_error[rows]).all() == some
        if some:
            served.add(networks[0].tobytes())
    assert all(queries <= len(served) for queries in problem.errors.queries)
    assert 0 < len(served) <= options.episodes


def test_rewards_are_accuracy_minus_penalty(make_problem, options):
    problem, _ = make_problem()
    search = searched(problem, "nasaic", options)
    penalty = explored_penalty(problem, np.random.default_rng(0))

    designs = search.designs

    accuracy = np.nan_to_num(1 - designs.weighted_error, nan=0.0)
    reward = designs.history.costs[:, -1]
    np.testing.assert_allclose(reward, accuracy - 10.0 * penalty(designs.costs))


def test_network_first_ignores_the_specs_until_networks_are_chosen(make_problem, options):
    problem, _ = make_problem()

    search = searched(problem, "network-first", replace(options, episodes=40))

    designs = search.designs
    tried = designs.history.generation < 40
    assert np.isnan(designs.costs[tried]).all()
    assert len(designs) == 40 + options.chips
    best = np.nanmin(designs.weighted_error[tried])
    assert designs.weighted_error[search.handed_over()] == best
    networks = designs.population[~tried][:, : problem.network_columns]
    assert (networks == networks[0]).all()


def test_hardware_first_keeps_its_chip(make_problem, options):
    problem, _ = make_problem()

    designs = searched(problem, "hardware-first", options).designs

    chips = problem.joint.split(designs.population)[-1]
    assert (chips == chips[0]).all()


def test_nsga2_evaluates_as_many_designs_as_episodes_have(make_problem, options):
    problem, _ = make_problem()

    designs = searched(problem, "nsga2", options).designs

    assert len(designs) >= options.episodes * (1 + options.hardware_steps)
    assert len(np.unique(designs.population, axis=0)) == len(designs)


def test_a_front_has_the_costs_and_errors_of_its_members(make_problem, options):
    problem, _ = make_problem()
    designs = searched(problem, "nasaic", options).designs

    front = designs.front()
    columns = designs.front_columns(front)

    assert list(columns) == [
        "latency_s",
        "energy_j",
        "area_mm2",
        "latency_cycles",
        "error_small-resnet9",
        "error_small-unet",
    ]
    costs = problem.evaluator.costs(np.ascontiguousarray(front.population))
    np.testing.assert_array_equal(columns["latency_cycles"], costs[:, 0])
    np.testing.assert_array_equal(columns["area_mm2"], front.objectives[:, 3])
    weighted = 0.5 * columns["error_small-resnet9"] + 0.5 * columns["error_small-unet"]
    np.testing.assert_allclose(weighted, front.objectives[:, 0])


def test_a_state_of_something_else_is_refused(make_problem, options):
    problem, _ = make_problem()
    penalty = explored_penalty(problem, np.random.default_rng(0))
    search = Episodes(problem, penalty, options, np.random.default_rng(0))
    search.episode()

    with pytest.raises(RunError, match="how many episodes"):
        search.restore({**search.state(), "episodes": "all"})
    with pytest.raises(RunError, match="population"):
        search.restore({**search.state(), "designs.population": np.zeros((1, 2), np.uint8)})
