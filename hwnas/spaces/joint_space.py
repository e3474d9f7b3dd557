"""Several spaces taken together: one row for networks and the hardware they run on."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from hwnas.errors import SpaceError
from hwnas.spaces.decisions import Decision, DecisionSpace, Population

__all__ = ["JointSpace"]


class JointSpace(DecisionSpace):
    """The product of spaces; columns are theirs, one space after another.

    Decisions are called `space/decision`, with the place in front where a space stands twice.

    Args:
        spaces: At least one.

    Raises:
        SpaceError: None is given.
    """

    def __init__(self, spaces: Sequence[DecisionSpace]) -> None:
        if not spaces:
            raise SpaceError("no space to join")
        names = [space.name for space in spaces]
        labels = [
            name if names.count(name) == 1 else f"{place}.{name}"
            for place, name in enumerate(names, 1)
        ]  # of the parts; each stands once
        super().__init__(
            "+".join(names),
            tuple(
                Decision(f"{label}/{decision.name}", decision.options)
                for label, space in zip(labels, spaces, strict=True)
                for decision in space.decisions
            ),
            f"{len(spaces)} spaces taken together",
        )
        self.spaces = tuple(spaces)
        self.labels = tuple(labels)
        widths = np.cumsum([0, *(len(space.decisions) for space in spaces)]).tolist()
        self._columns = [slice(*ends) for ends in pairwise(widths)]

    @property
    def cardinality(self) -> int:
        """Number of distinct members: the product."""
        total = 1
        for space in self.spaces:
            total *= space.cardinality
        return total

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` members, each part by its own space, `(n, d)`."""
        return self.join([space.sample(n, rng) for space in self.spaces])

    def split(self, population: Population) -> list[Population]:
        """The columns of each space, as C-contiguous arrays."""
        return [np.ascontiguousarray(population[:, columns]) for columns in self._columns]

    def join(self, populations: Sequence[Population]) -> Population:
        """The inverse of `split`."""
        return np.concatenate(populations, axis=1)

    def _canonicalised_in_place(self, population: Population) -> Population:
        parts = self.split(population)
        for columns, space, part in zip(self._columns, self.spaces, parts, strict=True):
            population[:, columns] = space.canonicalise(part)
        return population
