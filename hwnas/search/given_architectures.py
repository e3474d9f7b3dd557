"""Architectures that somebody else found, evaluated like those of any strategy."""

import numpy as np

from hwnas.search.checkpoint import State
from hwnas.search.strategy import Floats, Population, PopulationSpace, check_told

__all__ = ["GivenArchitectures"]


class GivenArchitectures:
    """Asks for a list of architectures once, and for nothing else.

    Args:
        space: Their space.
        population: `(n, d)`, canonical.
    """

    name = "given"

    def __init__(self, space: PopulationSpace, population: Population) -> None:
        self._width = len(space.option_counts)
        self._left = population

    def ask(self) -> Population:
        """Returns the architectures, and afterwards an empty population."""
        asked, self._left = self._left, self._left[:0]
        return asked

    def tell(
        self, population: Population, objectives: Floats, violation: Floats | None = None
    ) -> None:
        """Learns nothing.

        Args:
            population: `(n, d)`.
            objectives: `(n, m)`.
            violation: `(n,)`.

        Raises:
            SpaceError: If a shape does not fit.
        """
        check_told(self._width, population, objectives, violation)

    def state(self) -> State:
        """Returns what is not asked for yet."""
        return {"strategy": self.name, "left": np.array(self._left)}

    def restore(self, state: State) -> None:
        """Nothing to go on with: evaluating a list again costs little.

        Args:
            state: Not used.
        """
