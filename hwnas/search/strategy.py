"""What a search strategy is, and what it needs from a search space.

A strategy proposes populations and is told how they did; it never evaluates anything itself. All
its chance comes from the generator it was made with, and all its memory can be taken out as plain
arrays and put back, so that a killed search goes on to the same result.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwnas.errors import RunError, SpaceError
from hwnas.search.checkpoint import State

__all__ = ["Floats", "Population", "PopulationSpace", "Strategy"]

Population = NDArray[np.uint8]
Floats = NDArray[np.float64]


@runtime_checkable
class PopulationSpace(Protocol):
    """The part of a search space that strategies use: whole populations of option indices."""

    @property
    def option_counts(self) -> Population:
        """Number of options of each decision, `(d,)`, each at least 1."""

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Returns up to n random architectures, `(n, d)`; repeats and any form are allowed.

        Args:
            n: How many, at least 0.
            rng: The only source of chance.
        """

    def canonicalise(self, population: Population) -> Population:
        """Returns the one representative `(n, d)` of each row's class of equal networks.

        Args:
            population: `(n, d)`, every value below its decision's option count; it may be changed
                in place.
        """


@runtime_checkable
class Strategy(Protocol):
    """Asks for evaluations and learns from them.

    A strategy is made as `Strategy(space, rng=rng, population_size=100, ...)`; further keywords
    are its own. The suite in :mod:`hwnas.testing.strategy_conformance` says in code what is
    promised here.
    """

    def ask(self) -> Population:
        """Returns the architectures to evaluate next, `(n, d)` canonical rows.

        None has been asked for or told before, and none repeats. Empty, `(0, d)`, when no new
        architecture could be found: the space is exhausted and the search is over.
        """

    def tell(
        self, population: Population, objectives: Floats, violation: Floats | None = None
    ) -> None:
        """Takes in evaluated architectures, asked for or not.

        Args:
            population: `(n, d)`; not kept, not changed.
            objectives: `(n, m)`, all minimised; NaN is worse than any number, and means nothing in
                an infeasible row.
            violation: `(n,)`, 0 or less where feasible; None means that all rows are.

        Raises:
            SpaceError: If a shape does not fit.
        """

    def state(self) -> State:
        """Returns all that decides what is asked next, taken when all that was asked is told."""

    def restore(self, state: State) -> None:
        """Goes on from a state that a strategy made with the same arguments returned.

        Args:
            state: What `state` returned; not trusted.

        Raises:
            RunError: If it is malformed or of other arguments.
        """


def check_told(
    width: int, population: Population, objectives: ArrayLike, violation: ArrayLike | None
) -> tuple[Population, Floats, Floats]:
    """Returns the three arguments of `tell` as contiguous arrays of fitting shapes.

    Args:
        width: Number of decisions d.
        population: `(n, d)`.
        objectives: `(n, m)`.
        violation: `(n,)` or None, which becomes zeros.

    Raises:
        SpaceError: If a shape or the population's type does not fit.
    """
    rows = np.ascontiguousarray(population)
    values = np.ascontiguousarray(objectives, dtype=np.float64)
    n = len(rows)
    if rows.dtype != np.uint8 or rows.shape != (n, width):
        raise SpaceError(
            f"population is {rows.dtype} of shape {rows.shape}, expected uint8 (n, {width})"
        )
    if values.ndim != 2 or len(values) != n or values.shape[1] == 0:
        raise SpaceError(f"objectives have shape {values.shape}, expected ({n}, m), m at least 1")
    if violation is None:
        return rows, values, np.zeros(n)
    excess = np.ascontiguousarray(violation, dtype=np.float64)
    if excess.shape != (n,):
        raise SpaceError(f"violation has shape {excess.shape}, expected ({n},)")
    return rows, values, excess


def check_restored(name: str, space: PopulationSpace, population_size: int, state: State) -> None:
    """Checks that a state is of this strategy, space and size before anything is changed.

    Args:
        name: The strategy's name.
        space: The strategy's space.
        population_size: The strategy's population size.
        state: What came from outside.

    Raises:
        RunError: If it is not.
    """
    wanted: State = {"strategy": name, "population_size": population_size}
    for key, value in wanted.items():
        if state.get(key) != value:
            raise RunError(f"checkpoint has {key} {state.get(key)!r}, this run has {value!r}")
    if not np.array_equal(
        restored_array(state, "option_counts", np.uint8, 1), space.option_counts
    ):
        raise RunError("checkpoint is of another search space; start afresh")


def restored_array(state: State, key: str, dtype: type[np.generic], ndim: int) -> np.ndarray:
    """Returns a copy of one array of a state.

    Args:
        state: What came from outside.
        key: Name of the array.
        dtype: The type it must have.
        ndim: The number of axes it must have.

    Raises:
        RunError: If it is missing or of another type or number of axes.
    """
    array = state.get(key)
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
        raise RunError(f"checkpoint lacks a {ndim}-axis {dtype.__name__} array {key!r}")
    return array.copy(order="C")


def check_lengths(length: int, columns: dict[str, np.ndarray]) -> None:
    """Checks that the arrays of a state have one row for each of its architectures.

    Args:
        length: How many rows there must be.
        columns: The arrays by name.

    Raises:
        RunError: If one has another length.
    """
    for key, array in columns.items():
        if len(array) != length:
            raise RunError(f"checkpoint array {key!r} has {len(array)} rows, expected {length}")


def restored_rows(state: State, key: str, option_counts: Population) -> Population:
    """Returns one population of a state.

    Args:
        state: What came from outside.
        key: Name of the population.
        option_counts: `(d,)`, which bounds every row.

    Raises:
        RunError: If it is missing, of another width, or holds an option that does not exist.
    """
    rows = restored_array(state, key, np.uint8, 2)
    if rows.shape[1] != len(option_counts) or (rows >= option_counts).any():
        raise RunError(f"checkpoint array {key!r} does not hold architectures of this space")
    return rows


def restored_text(state: State, key: str) -> str:
    """Returns one string of a state.

    Args:
        state: What came from outside.
        key: Name of the string.

    Raises:
        RunError: If it is missing or no string.
    """
    text = state.get(key)
    if not isinstance(text, str):
        raise RunError(f"checkpoint lacks the text {key!r}")
    return text
