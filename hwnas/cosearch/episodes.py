"""Episodes of a controller: it draws designs, they are judged, it learns from their rewards.

Yang et al. (NASAIC), DAC 2020. The reward of a design is

    R = sum over tasks of weight * accuracy - rho * P

with the penalty P of `hwnas.cosearch.specs`. An *optimiser selector* has two switches, SA for the
networks' decisions and SH for the chip's. An episode is one step with both, then phi steps with SH
alone: the networks stay and other chips are tried. If no chip of the episode meets the specs,
accuracy is not asked for (no network is trained) and counts as 0: early pruning.

Differs from the paper: the phi steps of an episode are drawn from the same controller, are
scheduled as one batch with the first step, and make one update together, each kind of step
averaged over its own M; so every chip of an episode is tried before its networks are trained.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from hwnas.cosearch.designs import Designs
from hwnas.cosearch.policy_gradient import PolicyGradient
from hwnas.cosearch.problem import CoSearchOptions, Problem
from hwnas.cosearch.specs import METRICS, Penalty
from hwnas.errors import RunError
from hwnas.search import State
from hwnas.spaces import Population

__all__ = ["EpisodeSearch", "Episodes", "Switches", "part_of"]

Floats = npt.NDArray[np.float64]

#: What is searched: networks and chips; networks on a given chip; networks by accuracy alone.
Switches = Literal["joint", "networks-on-chip", "networks"]


class Episodes:
    """Runs episodes and keeps their designs.

    Args:
        problem: The problem.
        penalty: P of designs.
        options: How long and how to search.
        rng: The only source of chance.
        switches: What is searched.
        chip: Columns of the chip that networks are searched for; needed unless chips are searched.
    """

    def __init__(
        self,
        problem: Problem,
        penalty: Penalty,
        options: CoSearchOptions,
        rng: np.random.Generator,
        *,
        switches: Switches = "joint",
        chip: Population | None = None,
    ) -> None:
        self._problem = problem
        self._penalty = penalty
        self._options = options
        self._switches = switches
        self.designs = problem.designs()
        self.policy = PolicyGradient(problem.joint.option_counts, rng, options.policy)
        self.done = 0
        steps = options.hardware_steps if switches == "joint" else 0
        width, networks = len(problem.joint.decisions), problem.network_columns
        # The first row is the step with SA, the others those with SH alone.
        self._free = np.zeros((1 + steps, width), np.bool_)
        self._free[0, :networks] = True
        self._given = np.full(width, -1, np.int64)
        if chip is None:
            self._free[:, networks:] = True
        else:
            self._given[networks:] = chip

    def episode(self) -> None:
        """Run one more."""
        draw = self.policy.draw(self._free, self._given)
        rows = self._problem.joint.canonicalise(draw.rows)
        if self._switches == "networks":
            costs = np.full((len(rows), len(METRICS)), np.nan)
            violation = np.full(len(rows), np.inf)
            errors = self._problem.errors.errors(rows)
            reward = 1.0 - errors @ self._problem.errors.weights
        else:
            costs = self._problem.evaluator.costs(rows)
            violation = self._problem.specs.violation(costs)
            errors = self._errors(rows, violation)
            accuracy = np.nan_to_num(1.0 - errors @ self._problem.errors.weights, nan=0.0)
            reward = accuracy - self._options.penalty_weight * self._penalty(costs)
        left = max(0.0, 1.0 - self.done / self._options.episodes)
        self.policy.learn(draw, reward, self._problem.network_columns, entropy_share=left)
        self.designs.add(rows, costs, errors, violation, generation=self.done, reward=reward)
        self.done += 1

    def state(self) -> State:
        """All that decides how the episodes go on."""
        return {
            "episodes": self.done,
            **{f"policy.{name}": value for name, value in self.policy.state().items()},
            **{f"designs.{name}": value for name, value in self.designs.state().items()},
            **{f"errors.{name}": value for name, value in self._problem.errors.state().items()},
        }

    def restore(self, state: State) -> None:
        """Go on from a state.

        Args:
            state: What `state` returned; not trusted.

        Raises:
            RunError: It is malformed or of another search.
        """
        done = state.get("episodes")
        if not isinstance(done, int) or done < 0:
            raise RunError("checkpoint does not say how many episodes are done; start afresh")
        self.designs.restore(part_of(state, "designs."))
        self._problem.errors.restore(part_of(state, "errors."))
        self.policy.restore(part_of(state, "policy."))
        self.done = done

    def _errors(self, rows: Population, violation: Floats) -> Floats:
        """Errors of the episode's networks, `(n, tasks)`; NaN if no chip serves them."""
        tasks = len(self._problem.errors.weights)
        if not (violation <= 0.0).any():
            return np.full((len(rows), tasks), np.nan)
        # All rows have the first row's networks.
        return np.repeat(self._problem.errors.errors(rows[:1]), len(rows), axis=0)


class EpisodeSearch:
    """A co-search that is a number of episodes.

    Args:
        search: The episodes.
        episodes: How many.
    """

    def __init__(self, search: Episodes, episodes: int) -> None:
        self._search = search
        self._episodes = episodes

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


def part_of(state: State, prefix: str) -> State:
    """What stands under a prefix in a state, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix)
    }
