"""NASAIC: one controller for networks and chip (Yang et al., DAC 2020)."""

from collections.abc import Callable

import numpy as np

from hwnas.cosearch.designs import Designs
from hwnas.cosearch.episodes import Episodes
from hwnas.cosearch.problem import CoSearchOptions, Problem, explored_penalty
from hwnas.search import State

__all__ = ["Nasaic"]


class Nasaic:
    """Episodes of one joint step and phi hardware-only steps.

    The design handed over is the best of all that were evaluated, those of hardware-only steps
    included, and not the controller's most probable one.

    Args:
        problem: The problem.
        options: How long and how to search.
        rng: The only source of chance.
    """

    name = "nasaic"

    def __init__(
        self, problem: Problem, options: CoSearchOptions, rng: np.random.Generator
    ) -> None:
        self._episodes = options.episodes
        self._search = Episodes(problem, explored_penalty(problem, rng), options, rng)

    @property
    def designs(self) -> Designs:
        """All that was evaluated."""
        return self._search.designs

    def run(self, on_progress: Callable[[float], None]) -> None:
        """Run the episodes that are left."""
        while self._search.done < self._episodes:
            self._search.episode()
            on_progress(self._search.done / self._episodes)

    def handed_over(self) -> int:
        """Index of the best design that meets the specs, else of the nearest miss."""
        best = self.designs.best()
        return self.designs.history.least_violating() if best is None else best

    def state(self) -> State:
        """All that decides how the search goes on."""
        return self._search.state()

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._search.restore(state)
