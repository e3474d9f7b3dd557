"""Random search: the baseline that every other strategy has to beat.

Reference: Li, Talwalkar, Random Search and Reproducibility for Neural Architecture Search, UAI
2019.
"""

import numpy as np

from hwnas.search.checkpoint import State, generator_state, restore_generator
from hwnas.search.explored import Explored
from hwnas.search.strategy import (
    Floats,
    Population,
    PopulationSpace,
    check_restored,
    check_told,
    restored_rows,
    restored_text,
)

__all__ = ["RandomSearch"]


class RandomSearch:
    """Samples the space without replacement and learns nothing.

    Differs from the paper: no architecture is drawn twice.

    Args:
        space: Where to search; its `sample` is the distribution.
        rng: The only source of chance.
        population_size: Architectures per `ask`.
    """

    name = "random"

    def __init__(
        self, space: PopulationSpace, *, rng: np.random.Generator, population_size: int = 100
    ) -> None:
        self._space = space
        self._rng = rng
        self._population_size = population_size
        self._explored = Explored(space)

    def ask(self) -> Population:
        """Returns new random architectures, `(n, d)`; empty when the space is exhausted."""
        return self._explored.novel(self._population_size, self._rng)

    def tell(
        self, population: Population, objectives: Floats, violation: Floats | None = None
    ) -> None:
        """Remembers not to ask for these architectures.

        Args:
            population: `(n, d)`.
            objectives: `(n, m)`, not used.
            violation: `(n,)`, not used.

        Raises:
            SpaceError: If a shape does not fit.
        """
        width = len(self._space.option_counts)
        rows, _, _ = check_told(width, population, objectives, violation)
        self._explored.mark(rows)

    def state(self) -> State:
        """Returns all that decides what is asked next."""
        return {
            "strategy": self.name,
            "population_size": self._population_size,
            "option_counts": np.array(self._space.option_counts),
            "rng": generator_state(self._rng),
            "explored": self._explored.rows(),
        }

    def restore(self, state: State) -> None:
        """Goes on from a state.

        Args:
            state: What `state` returned.

        Raises:
            RunError: If it is malformed or of other arguments.
        """
        check_restored(self.name, self._space, self._population_size, state)
        explored = restored_rows(state, "explored", self._space.option_counts)
        restore_generator(self._rng, restored_text(state, "rng"))
        self._explored.reset(explored)
