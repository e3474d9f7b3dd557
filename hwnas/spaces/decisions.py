"""Spaces of decisions: what strategies vary, whatever the decisions describe.

A space of networks (`hwnas.spaces.space`), a space of accelerators and several spaces taken
together are all ordered decisions with options. Their members are rows of option indices, and a
population is an `(n, d)` array of `uint8`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from hwnas.errors import SpaceError

__all__ = [
    "MAX_OPTIONS",
    "Architecture",
    "Decision",
    "DecisionSpace",
    "Option",
    "Population",
    "check_distinct",
]

Option = int | float | str | bool | tuple[int, ...] | tuple[str, ...] | None
Population = npt.NDArray[np.uint8]

MAX_OPTIONS = 255


@dataclass(frozen=True)
class Decision:
    """One choice among options.

    Args:
        name: Unique in the space.
        options: From least to most work, unless the space says otherwise; at most 255.
    """

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Architecture:
    """One member of a space: an option index per decision."""

    space: str
    indices: tuple[int, ...]

    def row(self) -> Population:
        """The architecture as a `(d,)` row."""
        return np.array(self.indices, dtype=np.uint8)


class DecisionSpace:
    """A finite set of rows of option indices; derived classes say what they stand for.

    Args:
        name: Name, with parameters if it has any, such as `proxyless-mobile@128`.
        decisions: In column order of populations.
        description: One line for `hwnas spaces`.

    Raises:
        SpaceError: A name stands twice, or a decision has no or too many options.
    """

    def __init__(self, name: str, decisions: tuple[Decision, ...], description: str = "") -> None:
        self.name = name
        self.decisions = decisions
        self.description = description
        self._column = {decision.name: i for i, decision in enumerate(decisions)}
        check_distinct(name, "decision", [decision.name for decision in decisions])
        for decision in decisions:
            if not 1 <= len(decision.options) <= MAX_OPTIONS:
                raise SpaceError(
                    f"decision {decision.name!r} has {len(decision.options)} options, "
                    f"not 1 to {MAX_OPTIONS}"
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.decisions)} decisions)"

    @cached_property
    def option_counts(self) -> npt.NDArray[np.uint8]:
        """Options of each decision, `(d,)`."""
        return np.array([len(decision.options) for decision in self.decisions], dtype=np.uint8)

    @property
    def is_ordered(self) -> bool:
        """Whether every decision's options go from least to most work."""
        return True

    def neighbours(self, row: npt.ArrayLike) -> Population:
        """All canonical rows that differ from one `(d,)` row in one decision, each once."""
        own = self.canonicalise(np.atleast_2d(np.asarray(row)))[0]
        edited = [
            np.where(np.arange(len(own)) == column, np.uint8(option), own)
            for column, count in enumerate(self.option_counts)
            for option in range(int(count))
            if option != own[column]
        ]
        if not edited:
            return np.empty((0, len(own)), dtype=np.uint8)
        near: Population = np.unique(self.canonicalise(np.stack(edited)), axis=0)
        return np.compress((near != own).any(axis=1), near, axis=0)

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` architectures, every decision uniform, in canonical form `(n, d)`."""
        drawn = rng.integers(0, self.option_counts, size=(n, len(self.decisions)), dtype=np.uint8)
        return self._canonicalised_in_place(drawn)

    def canonicalise(self, population: Population) -> Population:
        """A copy `(n, d)` in which rows that mean the same are the same, inactive options at 0.

        Raises:
            SpaceError: Wrong type or shape, or an option index out of range.
        """
        return self._canonicalised_in_place(self.checked(population).copy())

    def checked(self, population: npt.ArrayLike) -> Population:
        """The population as a C-contiguous `(n, d)` array of `uint8`.

        Raises:
            SpaceError: Not integers, wrong shape, or an option index out of range.
        """
        array = np.asarray(population)
        wanted = len(self.decisions)
        if array.ndim != 2 or array.shape[1] != wanted:
            raise SpaceError(
                f"population of {self.name} has shape {array.shape}, not (n, {wanted})"
            )
        if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.integer):
            raise SpaceError(f"population of {self.name} has type {array.dtype}, not uint8")
        wrong = np.argwhere((array < 0) | (array >= self.option_counts))
        if len(wrong):
            row, column = (int(i) for i in wrong[0])
            decision = self.decisions[column]
            raise SpaceError(
                f"row {row}: option {int(array[row, column])} of decision {decision.name!r} is "
                f"out of range, it has {len(decision.options)} options"
            )
        return np.ascontiguousarray(array, dtype=np.uint8)

    @property
    def cardinality(self) -> int:
        """Number of distinct canonical members (exact)."""
        return prod(len(decision.options) for decision in self.decisions)

    def smallest(self) -> Architecture:
        """The architecture of all first options."""
        return self.architecture(np.zeros(len(self.decisions), dtype=np.uint8))

    def largest(self) -> Architecture:
        """The architecture of all last options."""
        return self.architecture(self.option_counts - np.uint8(1))

    def architecture(self, row: npt.ArrayLike) -> Architecture:
        """The canonical architecture of one `(d,)` row of option indices."""
        canonical = self.canonicalise(np.atleast_2d(np.asarray(row)))
        return Architecture(self.name, tuple(int(i) for i in canonical[0]))

    def options(self, architecture: Architecture) -> dict[str, Option]:
        """The chosen option of every decision, by name."""
        self._check_member(architecture)
        pairs = zip(self.decisions, architecture.indices, strict=True)
        return {decision.name: decision.options[index] for decision, index in pairs}

    def from_options(self, options: Mapping[str, Option]) -> Architecture:
        """The architecture with the given option of every decision; the inverse of `options`.

        Raises:
            SpaceError: A decision is missing or unknown, or has no such option.
        """
        unknown = sorted(set(options) - set(self._column))
        if unknown:
            raise SpaceError(f"{self.name} has no decision {unknown[0]!r}")
        indices = []
        for decision in self.decisions:
            if decision.name not in options:
                raise SpaceError(f"decision {decision.name!r} of {self.name} is missing")
            option = options[decision.name]
            if option not in decision.options:
                raise SpaceError(
                    f"decision {decision.name!r} has no option {option!r}: {decision.options}"
                )
            indices.append(decision.options.index(option))
        return self.architecture(np.array(indices, dtype=np.uint8))

    def _check_member(self, architecture: Architecture) -> None:
        if architecture.space != self.name:
            raise SpaceError(f"architecture of {architecture.space!r} given to {self.name!r}")
        self.checked([architecture.indices])

    def _canonicalised_in_place(self, population: Population) -> Population:
        """Give rows that mean the same the same indices; here every row is its own form."""
        return population


def check_distinct(space: str, kind: str, names: list[str]) -> None:
    """Refuse names that stand twice.

    Raises:
        SpaceError: One does.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpaceError(f"{kind} {twice[0]!r} stands twice in space {space!r}")
