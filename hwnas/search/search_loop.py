"""The loop between a strategy and what evaluates architectures.

Costs are cheap and errors are dear: every architecture is costed, but an error is asked for only
where the budgets are met, and only once for each architecture.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas import _core
from hwnas.errors import RunError, SpaceError
from hwnas.search.budgets import Budgets
from hwnas.search.checkpoint import State
from hwnas.search.front import Front
from hwnas.search.strategy import (
    Floats,
    Population,
    Strategy,
    check_lengths,
    restored_array,
)

__all__ = ["Evaluation", "History", "SearchProgress", "SearchResult", "run_search"]

log = logging.getLogger(__name__)

ERROR = "error"


@dataclass(frozen=True)
class Evaluation:
    """How architectures are evaluated, and which of the numbers are minimised.

    Args:
        cost: Population `(n, d)` to costs `(n, c)` in SI units; cheap, called for every row.
        metrics: Names of the c costs, such as `("latency_s", "energy_j")`.
        error: Population `(n, d)` to errors `(n,)`; dear, called for feasible rows that were not
            evaluated before. None if `error` is no objective.
        objectives: What the strategy minimises: `error` and metrics, each at most once.

    Raises:
        SpaceError: If an objective is neither `error` nor a metric, or `error` cannot be had.
    """

    cost: Callable[[Population], Floats]
    metrics: tuple[str, ...]
    error: Callable[[Population], Floats] | None = None
    objectives: tuple[str, ...] = (ERROR, "latency_s")

    def __post_init__(self) -> None:
        known = ((ERROR,) if self.error is not None else ()) + tuple(self.metrics)
        for name in self.objectives:
            if name not in known:
                raise SpaceError(f"unknown objective {name!r}; available: {', '.join(known)}")
        if not self.objectives or len(set(self.objectives)) != len(self.objectives):
            raise SpaceError(f"objectives are {self.objectives}; give each once, and at least one")


class History:
    """All that was evaluated, in order.

    Args:
        decisions: Number of decisions d.
        metrics: Names of the c costs.
        objectives: Names of the m objectives.
    """

    def __init__(
        self, decisions: int, metrics: tuple[str, ...], objectives: tuple[str, ...]
    ) -> None:
        self.metrics = metrics
        self.objective_names = objectives
        empty: dict[str, np.ndarray] = {
            "population": np.empty((0, decisions), np.uint8),
            "objectives": np.empty((0, len(objectives))),
            "costs": np.empty((0, len(metrics))),
            "violation": np.empty(0),
            "generation": np.empty(0, np.int32),
        }
        self._parts = {name: [array] for name, array in empty.items()}
        self._length = 0

    def __len__(self) -> int:
        """Tells how many architectures were evaluated."""
        return self._length

    @property
    def population(self) -> Population:
        """Architectures, `(n, d)`."""
        return self._column("population")

    @property
    def objectives(self) -> Floats:
        """Objectives, `(n, m)`; the error of an infeasible architecture is NaN."""
        return self._column("objectives")

    @property
    def costs(self) -> Floats:
        """All costs, `(n, c)`, in SI units."""
        return self._column("costs")

    @property
    def violation(self) -> Floats:
        """Total relative violation of the budgets, `(n,)`."""
        return self._column("violation")

    @property
    def generation(self) -> np.ndarray:
        """Number of the generation, `(n,)`, from 0."""
        return self._column("generation")

    def append(self, **columns: np.ndarray) -> None:
        """Adds rows.

        Args:
            **columns: All columns by name, of equal length.
        """
        check_lengths(len(columns["population"]), columns)
        for name, parts in self._parts.items():
            parts.append(columns[name])
        self._length += len(columns["population"])

    def front(self) -> Front:
        """Returns the front of all that was evaluated; empty if nothing met the budgets."""
        return Front.of(self.population, self.objectives, self.violation, self.objective_names)

    def least_violating(self) -> int:
        """Returns the index of the earliest row of least violation, 0 if that is met.

        Raises:
            SpaceError: If nothing was evaluated.
        """
        if not len(self):
            raise SpaceError("nothing was evaluated; give at least one evaluation")
        return int(np.argmin(self.violation))

    def state(self) -> State:
        """Returns all columns."""
        return {name: self._column(name).copy() for name in self._parts}

    def restore(self, state: State) -> None:
        """Takes all columns from a state.

        Args:
            state: What `state` returned.

        Raises:
            RunError: If a column is missing or does not fit.
        """
        columns = {}
        for name, parts in self._parts.items():
            wanted = parts[0]
            columns[name] = restored_array(state, name, wanted.dtype.type, wanted.ndim)
            if columns[name].shape[1:] != wanted.shape[1:]:
                raise RunError(f"checkpoint array {name!r} has shape {columns[name].shape}")
        self._parts = {name: [parts[0][:0]] for name, parts in self._parts.items()}
        self._length = 0
        check_lengths(len(columns["population"]), columns)
        self.append(**columns)

    def _column(self, name: str) -> np.ndarray:
        parts = self._parts[name]
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        return parts[0]


@dataclass(frozen=True)
class SearchProgress:
    """Where a search stands after a generation.

    Args:
        generation: Generations done.
        evaluations: Architectures evaluated, feasible or not.
        error_evaluations: Architectures whose error was asked for.
        history: All that was evaluated; it grows as the search goes on.
        state: Call it to have all that is needed to resume, as plain arrays. It copies the
            history, so a caller with fast generations calls it every few seconds.
    """

    generation: int
    evaluations: int
    error_evaluations: int
    history: History
    state: Callable[[], State]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        front: Non-dominated architectures that meet the budgets; empty if none does, and then
            `history.least_violating()` is the nearest to it.
        history: All that was evaluated.
        generations: Generations done.
        error_evaluations: Architectures whose error was asked for.
        exhausted: Whether the strategy ran out of new architectures.
    """

    front: Front
    history: History
    generations: int
    error_evaluations: int
    exhausted: bool


def run_search(
    strategy: Strategy,
    evaluation: Evaluation,
    budgets: Budgets,
    evaluations: int,
    *,
    decisions: int,
    on_generation: Callable[[SearchProgress], None] | None = None,
    resume: State | None = None,
) -> SearchResult:
    """Returns the front of the architectures that a strategy asks for.

    Generations are asked for until `evaluations` architectures are evaluated; the last one is not
    cut, so that a longer search starts with the very same generations. A search that is resumed
    from the state after any generation goes on to the same result, bit for bit.

    Args:
        strategy: Asks and is told. Made on a :class:`~hwnas.search.feasible_first.FeasibleFirst`,
            it starts from feasible architectures.
        evaluation: What is evaluated and minimised.
        budgets: Upper limits on costs.
        evaluations: Architectures to evaluate at least, feasible or not, resumed ones included.
        decisions: Number of decisions d of the space.
        on_generation: Called after each generation; an exception from it ends the search.
        resume: State from `on_generation` of a search with the same arguments.

    Raises:
        RunError: If the state to resume from is malformed or of other arguments.
        SpaceError: If an evaluation returns an array of another shape.
    """
    started = time.perf_counter()
    history = History(decisions, evaluation.metrics, evaluation.objectives)
    errors = _ErrorCache(evaluation, decisions)
    generation = 0
    arguments = _arguments(evaluation, budgets)
    if resume is not None:
        generation = _restore(resume, arguments, strategy, history, errors)

    def state() -> State:
        return {
            "search.arguments": arguments,
            "search.generation": generation,
            "search.error_evaluations": errors.evaluations,
            **{f"strategy.{name}": value for name, value in strategy.state().items()},
            **{f"history.{name}": value for name, value in history.state().items()},
        }

    exhausted = False
    while len(history) < evaluations:
        population = strategy.ask()
        if not len(population):
            exhausted = True
            log.info("the space is exhausted after %d architectures", len(history))
            break
        costs = _checked(evaluation.cost(population), (len(population), len(evaluation.metrics)))
        violation = budgets.violation(costs, evaluation.metrics)
        columns = dict(zip(evaluation.metrics, costs.T, strict=True))
        if ERROR in evaluation.objectives:
            columns[ERROR] = errors.of(population, violation <= 0)
        objectives = np.stack([columns[name] for name in evaluation.objectives], axis=1)
        strategy.tell(population, objectives, violation)
        history.append(
            population=population,
            objectives=objectives,
            costs=costs,
            violation=violation,
            generation=np.full(len(population), generation, np.int32),
        )
        generation += 1
        if on_generation is not None:
            on_generation(
                SearchProgress(generation, len(history), errors.evaluations, history, state)
            )
    front = history.front()
    log.info(
        "evaluated %d architectures, %d errors, in %d generations and %.1f s: front of %d",
        len(history),
        errors.evaluations,
        generation,
        time.perf_counter() - started,
        len(front),
    )
    return SearchResult(front, history, generation, errors.evaluations, exhausted)


class _ErrorCache:
    """Errors of feasible architectures, each asked for once."""

    def __init__(self, evaluation: Evaluation, decisions: int) -> None:
        self._evaluation = evaluation
        self._rows = _core.RowSet(decisions)
        self._errors = np.empty(0)
        self.evaluations = 0

    def of(self, population: Population, feasible: np.ndarray) -> Floats:
        """Returns the errors `(n,)`, NaN where infeasible."""
        found = np.full(len(population), np.nan)
        rows = np.ascontiguousarray(population[feasible])
        new = rows[self._rows.insert(rows)]
        if len(new):
            assert self._evaluation.error is not None
            self._add(_checked(self._evaluation.error(new), (len(new),)))
            self.evaluations += len(new)
        found[feasible] = self._errors[self._rows.find(rows)]
        return found

    def fill(self, population: Population, errors: Floats, evaluations: int) -> None:
        """Takes in what was evaluated before; of repeats the first."""
        new = self._rows.insert(np.ascontiguousarray(population))
        self._add(errors[new])
        self.evaluations = evaluations

    def _add(self, errors: Floats) -> None:
        # RowSet numbers rows in the order of arrival, so errors are found at the same place. The
        # array doubles, so that many small generations cost no more than one large one.
        count = len(self._rows)
        if count > len(self._errors):
            grown = np.empty(max(2 * len(self._errors), count))
            grown[: count - len(errors)] = self._errors[: count - len(errors)]
            self._errors = grown
        self._errors[count - len(errors) : count] = errors


def _checked(values: Floats, shape: tuple[int, ...]) -> Floats:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.shape != shape:
        raise SpaceError(f"an evaluation returned shape {array.shape}, expected {shape}")
    return array


def _arguments(evaluation: Evaluation, budgets: Budgets) -> str:
    limits = ", ".join(f"{budget.metric} <= {budget.limit!r}" for budget in budgets.limits)
    return (
        f"minimise {', '.join(evaluation.objectives)}; "
        f"costs {', '.join(evaluation.metrics)}; budgets {limits or 'none'}"
    )


def _restore(
    resume: State, arguments: str, strategy: Strategy, history: History, errors: _ErrorCache
) -> int:
    if resume.get("search.arguments") != arguments:
        raise RunError(
            f"checkpoint is of a search that has {resume.get('search.arguments')!r}, "
            f"this one has {arguments!r}; start afresh"
        )
    generation = resume.get("search.generation")
    evaluated = resume.get("search.error_evaluations")
    if not isinstance(generation, int) or not isinstance(evaluated, int):
        raise RunError("checkpoint does not say how far the search came; start afresh")
    history.restore(_part(resume, "history."))
    strategy.restore(_part(resume, "strategy."))
    if ERROR in history.objective_names:
        feasible = history.violation <= 0
        known = history.objectives[feasible, history.objective_names.index(ERROR)]
        errors.fill(history.population[feasible], known, evaluated)
    return generation


def _part(state: State, prefix: str) -> State:
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix)
    }
