import numpy as np
import pytest

from hwnas.errors import RunError, SpaceError
from hwnas.search import (
    STRATEGIES,
    Budget,
    Budgets,
    Evaluation,
    FeasibleFirst,
    load_state,
    run_search,
    save_state,
)
from hwnas.testing.strategy_conformance import ToySpace

METRICS = ("latency_s", "energy_j")
TIGHT = Budgets((Budget("latency_s", 10.0),))


def cost(population):
    total = population.sum(axis=1, dtype=np.float64)
    return np.stack([total, 2 * total + population[:, 0]], axis=1)


def error(population):
    return 1.0 / (1.0 + (population**2).sum(axis=1, dtype=np.float64))


class Counted:
    """An error function that remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, population):
        self.asked.append(population.copy())
        return error(population)


def search(
    name="nsga2", evaluations=200, budgets=TIGHT, seed=0, space=None, wrap=True, **keywords
):
    inner = space or ToySpace((5,) * 8)
    evaluation = keywords.pop("evaluation", Evaluation(cost, METRICS, error))
    wrapped = FeasibleFirst(inner, evaluation.cost, METRICS, budgets) if wrap else inner
    strategy = STRATEGIES[name](wrapped, rng=np.random.default_rng(seed), population_size=10)
    return run_search(
        strategy,
        evaluation,
        budgets,
        evaluations,
        decisions=len(inner.option_counts),
        **keywords,
    )


def same(one, two):
    return one.front == two.front and all(
        np.array_equal(getattr(one.history, name), getattr(two.history, name), equal_nan=True)
        for name in ("population", "objectives", "costs", "violation", "generation")
    )


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_the_front_meets_the_budget_and_beats_all_that_was_evaluated(name):
    result = search(name)

    assert len(result.front)
    assert (result.front.objectives[:, 1] <= 10).all()
    feasible = result.history.violation <= 0
    assert result.front.objectives[:, 0].min() == result.history.objectives[feasible, 0].min()


def test_errors_are_asked_for_once_and_only_within_the_budget():
    counted = Counted()

    result = search(evaluation=Evaluation(cost, METRICS, counted), wrap=False, evaluations=600)

    asked = np.concatenate(counted.asked)
    assert (cost(asked)[:, 0] <= 10).all()
    assert len(np.unique(asked, axis=0)) == len(asked) == result.error_evaluations
    infeasible = result.history.violation > 0
    assert infeasible.any()
    assert np.isnan(result.history.objectives[infeasible, 0]).all()
    assert not np.isnan(result.history.objectives[~infeasible]).any()


def test_a_repeated_architecture_costs_no_second_error():
    class Repeating:
        """Asks for the same two architectures each time."""

        def ask(self):
            return np.array([[0, 1], [1, 1]], np.uint8)

        def tell(self, population, objectives, violation=None):
            self.objectives = objectives

        def state(self):
            return {}

        def restore(self, state):
            pass

    counted, strategy = Counted(), Repeating()
    evaluation = Evaluation(cost, METRICS, counted)

    result = run_search(strategy, evaluation, Budgets(), 6, decisions=2)

    assert result.error_evaluations == 2
    assert len(counted.asked) == 1
    assert strategy.objectives[:, 0].tolist() == error(strategy.ask()).tolist()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_search_resumed_from_a_file_ends_like_one_that_was_never_stopped(name, tmp_path):
    def keep(progress):
        if progress.generation == 10:
            save_state(tmp_path / "checkpoint", progress.state())
            raise KeyboardInterrupt

    whole = search(name, evaluations=200)
    with pytest.raises(KeyboardInterrupt):
        search(name, evaluations=200, on_generation=keep)

    resumed = search(name, seed=99, resume=load_state(tmp_path / "checkpoint"))

    assert same(whole, resumed)
    assert whole.generations == resumed.generations
    assert whole.error_evaluations == resumed.error_evaluations


def test_a_longer_search_starts_with_the_same_generations():
    short, long = search(evaluations=95), search(evaluations=200)

    n = len(short.history)
    assert np.array_equal(short.history.population, long.history.population[:n])


def test_a_resumed_search_does_not_ask_for_known_errors():
    states = []
    search(evaluations=100, on_generation=lambda progress: states.append(progress.state()))
    counted = Counted()

    result = search(evaluation=Evaluation(cost, METRICS, counted), resume=states[-1])

    known = states[-1]["search.error_evaluations"]
    assert result.error_evaluations == known + sum(len(rows) for rows in counted.asked)


def test_a_budget_that_nothing_meets_leaves_the_nearest_architecture():
    space = ToySpace((5,) * 4)
    budgets = Budgets((Budget("latency_s", 0.5), Budget("energy_j", 1e-9)))

    def costs(population):
        return cost(population) + 1.0

    result = search(
        space=space, budgets=budgets, evaluation=Evaluation(costs, METRICS, error), evaluations=100
    )

    assert not len(result.front)
    assert result.error_evaluations == 0
    assert result.history.population[result.history.least_violating()].tolist() == [0, 0, 0, 0]


def test_a_tight_budget_is_met_from_the_first_generation():
    space = ToySpace((7,) * 10)
    budgets = Budgets((Budget("latency_s", 14.0),))

    result = search(space=space, budgets=budgets, evaluations=10)

    assert (result.history.violation <= 0).all()


def test_an_exhausted_space_ends_the_search():
    space = ToySpace((2, 2, 3))

    result = search(space=space, budgets=Budgets(), evaluations=1000)

    assert result.exhausted
    assert len(result.history) == len(space)


def test_costs_alone_can_be_minimised():
    result = search(
        budgets=Budgets(),
        evaluation=Evaluation(cost, METRICS, None, objectives=("latency_s", "energy_j")),
    )

    assert result.front.names == ("latency_s", "energy_j")
    assert result.error_evaluations == 0


def test_progress_counts_what_was_done():
    seen = []

    result = search(evaluations=50, on_generation=seen.append)

    assert [progress.generation for progress in seen] == [1, 2, 3, 4, 5]
    assert [progress.evaluations for progress in seen] == [10, 20, 30, 40, 50]
    assert seen[-1].error_evaluations == result.error_evaluations
    assert result.history.generation.tolist() == np.repeat(np.arange(5), 10).tolist()


def test_no_evaluations_give_an_empty_front():
    result = search(evaluations=0)

    assert not len(result.front)
    with pytest.raises(SpaceError, match="nothing"):
        result.history.least_violating()


def test_a_checkpoint_of_another_search_is_refused():
    states = []
    search(evaluations=20, on_generation=lambda progress: states.append(progress.state()))

    with pytest.raises(RunError, match="search that has"):
        search(budgets=Budgets(), resume=states[-1])
    with pytest.raises(RunError, match="strategy"):
        search("random", resume=states[-1])
    for name in states[-1]:
        with pytest.raises(RunError):
            search(resume={key: value for key, value in states[-1].items() if key != name})


@pytest.mark.parametrize(
    "evaluation",
    [
        Evaluation(lambda population: np.zeros((len(population), 3)), METRICS, error),
        Evaluation(cost, METRICS, lambda population: np.zeros((len(population), 1))),
    ],
)
def test_an_evaluation_of_another_shape_is_an_error(evaluation):
    with pytest.raises(SpaceError, match="shape"):
        search(evaluation=evaluation, wrap=False, budgets=Budgets())


@pytest.mark.parametrize("objectives", [("error", "area_mm2"), (), ("latency_s", "latency_s")])
def test_objectives_that_cannot_be_had_are_errors(objectives):
    with pytest.raises(SpaceError):
        Evaluation(cost, METRICS, error, objectives=objectives)


def test_an_error_objective_needs_an_error_function():
    with pytest.raises(SpaceError, match="error"):
        Evaluation(cost, METRICS, None)
