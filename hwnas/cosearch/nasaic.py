"""NASAIC: one controller for networks and chip (Yang et al., DAC 2020)."""

import numpy as np

from hwnas.cosearch.episodes import Episodes, EpisodeSearch
from hwnas.cosearch.problem import CoSearchOptions, Problem, explored_penalty

__all__ = ["Nasaic"]


class Nasaic(EpisodeSearch):
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
        search = Episodes(problem, explored_penalty(problem, rng), options, rng)
        super().__init__(search, options.episodes)
