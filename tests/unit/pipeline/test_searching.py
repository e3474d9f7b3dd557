"""Searches that are killed and resumed, and budgets of all kinds."""

from pathlib import Path

import numpy as np
import pytest

from hwnas.costs import CostTable
from hwnas.errors import BudgetError
from hwnas.pipeline import searching
from hwnas.pipeline.profiling import costs_of
from hwnas.pipeline.requests import Limit, SearchRequest
from hwnas.pipeline.searching import resolve_budgets, search
from hwnas.search.cheapest import cheapest
from hwnas.spaces import get_space
from hwnas.targets import get_target


@pytest.fixture
def table(tmp_path: Path):
    with CostTable(tmp_path / "costs.sqlite") as opened:
        yield opened


def request_with(*limits: Limit, **changes) -> SearchRequest:
    arguments = {"evaluations": 600, "population": 30, "estimator": "synthetic"} | changes
    return SearchRequest("mbconv-digits", "simulated", limits=limits, **arguments)


class KilledError(Exception):
    pass


@pytest.mark.parametrize(
    ("strategy", "evaluations"),
    [("random", 600), ("regularized-evolution", 600), ("nsga2", 600), ("predictor-guided", 90)],
)
def test_killed_search_resumes_to_the_same_front(
    table, tmp_path, monkeypatch, strategy, evaluations
):
    limit = Limit("latency_s", 0.5, is_share=True)
    request = request_with(limit, strategy=strategy, evaluations=evaluations)
    whole = search(request, tmp_path / "whole", table)
    monkeypatch.setattr(searching, "_CHECKPOINT_S", 0.0)

    def kill(text: str, share: float) -> None:
        if text.startswith("searching") and share > 0.5:
            raise KilledError

    with pytest.raises(KilledError):
        search(request, tmp_path / "killed", table, progress=kill)
    resumed = search(request, tmp_path / "killed", table, resume=True)

    assert resumed.read_front() == whole.read_front()
    assert resumed.read_chosen().architecture == whole.read_chosen().architecture
    np.testing.assert_array_equal(
        resumed.read_history().population, whole.read_history().population
    )


def test_all_three_budgets_hold_for_the_whole_front(table, tmp_path):
    limits = [Limit(m, 0.6, is_share=True) for m in ("latency_s", "energy_j", "memory_bytes")]

    run = search(request_with(*limits), tmp_path / "run", table)

    budgets = run.read_chosen().budgets
    assert set(budgets) == {"latency_s", "energy_j", "memory_bytes"}
    for member in run.read_front():
        assert all(member.costs[metric] <= limit for metric, limit in budgets.items())


def test_budget_that_conflicts_with_another_is_reported_with_what_can_be_had(table, tmp_path):
    with pytest.raises(BudgetError, match="least energy_j architecture has"):
        search(
            request_with(Limit("latency_s", 1.0), Limit("energy_j", 1e-12)),
            tmp_path / "run",
            table,
        )


def test_share_is_of_the_largest_network(table):
    space = get_space("mbconv-digits")
    costs = costs_of(space, get_target("simulated"), table)

    budgets = resolve_budgets(request_with(Limit("latency_s", 0.25, is_share=True)), costs)

    largest = costs.cost(space.largest().row()[None])[0, 0]
    assert budgets.limits[0].limit == pytest.approx(0.25 * largest)


def test_cheapest_is_the_smallest_network_of_an_additive_space(table):
    space = get_space("mbconv-digits")
    costs = costs_of(space, get_target("simulated"), table)

    row = cheapest(
        space,
        lambda population: costs.cost(population)[:, 0].astype(float),
        np.random.default_rng(1),
    )

    assert tuple(row.tolist()) == space.smallest().indices
