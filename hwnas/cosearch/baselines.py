"""One after the other: what NASAIC is compared with in its paper.

NAS->ASIC looks for the most accurate networks first and then for a chip that serves them;
ASIC->HW-NAS fixes a chip first and then looks for networks that it serves. Both try chips by Monte
Carlo.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hwnas.cosearch.designs import Designs
from hwnas.cosearch.episodes import Episodes, EpisodeSearch
from hwnas.cosearch.problem import CoSearchOptions, Problem, explored_penalty, with_networks
from hwnas.cosearch.specs import Specs
from hwnas.search import State

__all__ = ["HardwareFirst", "NetworkFirst"]

Floats = npt.NDArray[np.float64]


class NetworkFirst:
    """NAS->ASIC: networks by accuracy alone, then the chip that breaks the specs least.

    Args:
        problem: The problem.
        options: How long and how to search.
        rng: The only source of chance.
    """

    name = "network-first"

    def __init__(
        self, problem: Problem, options: CoSearchOptions, rng: np.random.Generator
    ) -> None:
        self._problem, self._options, self._rng = problem, options, rng
        hardware = problem.joint.spaces[-1]
        self._search = Episodes(
            problem,
            explored_penalty(problem, rng),
            options,
            rng,
            switches="networks",
            chip=hardware.smallest().row(),
        )
        self._chosen: int | None = None

    @property
    def designs(self) -> Designs:
        """Networks without costs, then the chosen ones on all chips that were tried."""
        return self._search.designs

    def run(self, on_progress: Callable[[float], None]) -> None:
        """Run the episodes that are left, then try chips."""
        episodes = self._options.episodes
        while self._search.done < episodes:
            self._search.episode()
            on_progress(self._search.done / (episodes + 1))
        if self._chosen is not None:
            return
        designs, tried = self.designs, len(self.designs)
        most_accurate = int(np.argmin(designs.weighted_error))
        networks = designs.population[most_accurate, : self._problem.network_columns]
        errors = designs.errors[most_accurate]
        chips = self._problem.joint.spaces[-1].sample(self._options.chips, self._rng)
        rows = with_networks(networks, chips)
        costs = self._problem.evaluator.costs(rows)
        violation = self._problem.specs.violation(costs)
        designs.add(rows, costs, np.tile(errors, (len(rows), 1)), violation, generation=episodes)
        self._chosen = tried + int(np.lexsort((costs[:, 1], violation))[0])

    def handed_over(self) -> int:
        """Index of the most accurate networks on the chip that breaks the specs least."""
        assert self._chosen is not None  # `run` has come to its end
        return self._chosen

    def state(self) -> State:
        """All that decides how the search goes on; chips are tried again."""
        return self._search.state()

    def restore(self, state: State) -> None:
        """Go on from a state."""
        self._search.restore(state)


class HardwareFirst(EpisodeSearch):
    """ASIC->HW-NAS: the chip of a random design close to the specs, then networks for it.

    Of random designs that meet the specs the one that uses most of them is taken: the largest
    mean share of a spec. Where none meets them it is the one that breaks them least.

    Args:
        problem: The problem.
        options: How long and how to search.
        rng: The only source of chance.
    """

    name = "hardware-first"

    def __init__(
        self, problem: Problem, options: CoSearchOptions, rng: np.random.Generator
    ) -> None:
        penalty = explored_penalty(problem, rng)
        drawn = problem.joint.sample(options.chips, rng)
        costs = problem.evaluator.costs(drawn)
        chip = drawn[_closest(problem.specs, costs), problem.network_columns :]
        search = Episodes(problem, penalty, options, rng, switches="networks-on-chip", chip=chip)
        super().__init__(search, options.episodes)


def _closest(specs: Specs, costs: Floats) -> int:
    """Index of the design that meets the specs and uses most of them, else of the nearest miss."""
    violation = specs.violation(costs)
    limits = np.array(list(specs.limits().values()))
    bounded = np.isfinite(limits)
    used = (costs[:, bounded] / limits[bounded]).mean(axis=1)
    meets = violation <= 0.0
    if meets.any():
        return int(np.argmax(np.where(meets, used, -np.inf)))
    return int(np.argmin(violation))
