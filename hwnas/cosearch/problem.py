"""What a co-search is about, and what every way to search has."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hwnas.cosearch.accuracy import TaskErrors
from hwnas.cosearch.designs import Designs
from hwnas.cosearch.evaluator import DesignEvaluator
from hwnas.cosearch.policy_gradient import PolicyOptions
from hwnas.cosearch.specs import Penalty, Specs
from hwnas.search import State
from hwnas.spaces import JointSpace, Population

__all__ = ["CoSearch", "CoSearchOptions", "Problem", "explored_penalty", "with_networks"]

_EXPLORED_CHIPS = 1024


@dataclass(frozen=True, eq=False)
class Problem:
    """Networks, chips, costs, errors and specs.

    Args:
        evaluator: Designs to latency, energy and area.
        errors: Designs to errors.
    """

    evaluator: DesignEvaluator
    errors: TaskErrors

    @property
    def joint(self) -> JointSpace:
        """Networks' spaces in order, then the chips'."""
        return self.evaluator.tables.joint

    @property
    def specs(self) -> Specs:
        """What designs must meet."""
        return self.evaluator.specs

    @property
    def network_columns(self) -> int:
        """Decisions of all networks; those of the chip follow."""
        return len(self.joint.decisions) - len(self.joint.spaces[-1].decisions)

    def designs(self) -> Designs:
        """An empty history of this problem's designs."""
        return Designs(self.evaluator.tables, self.errors.weights)


@dataclass(frozen=True)
class CoSearchOptions:
    """How long and how to search.

    Args:
        episodes: Episodes; for NSGA-II as many designs as episodes have.
        hardware_steps: phi, chips that are tried for the networks of an episode beside its own.
        penalty_weight: rho.
        chips: Chips that Monte Carlo tries.
        policy: How the controller learns.
    """

    episodes: int = 500
    hardware_steps: int = 10
    penalty_weight: float = 10.0
    chips: int = 10_000
    policy: PolicyOptions = field(default_factory=PolicyOptions)


class CoSearch(Protocol):
    """A way to search, made as `cls(problem, options, rng)`.

    Everything is drawn from the generator. From any `state` an instance made with the same
    arguments goes on to the same result.
    """

    @property
    def designs(self) -> Designs:
        """All that was evaluated."""

    def run(self, on_progress: Callable[[float], None]) -> None:
        """Search to the end.

        Args:
            on_progress: Called with the share done whenever `state` may be taken.
        """

    def handed_over(self) -> int:
        """Index of the design that the search hands over.

        It is the best that meets the specs. Where none does, or the way to search looks at specs
        too late, it is the one that breaks them least.

        Raises:
            BudgetError: Nothing was evaluated.
        """

    def state(self) -> State:
        """All that decides how the search goes on."""

    def restore(self, state: State) -> None:
        """Go on from a state; not trusted.

        Raises:
            RunError: It is malformed or of another search.
        """


def explored_penalty(problem: Problem, rng: np.random.Generator) -> Penalty:
    """The penalty of designs, bounded by the largest networks on random chips.

    Args:
        problem: The problem.
        rng: Draws the chips.
    """
    *spaces, hardware = problem.joint.spaces
    chips = hardware.sample(_EXPLORED_CHIPS, rng)
    largest = np.concatenate([space.largest().row() for space in spaces])
    rows = with_networks(largest, chips)
    return Penalty.explored(problem.specs, problem.evaluator.costs(rows))


def with_networks(networks: npt.NDArray[np.uint8], chips: Population) -> Population:
    """Designs of the same networks on several chips, `(n, d)`.

    Args:
        networks: Columns of the networks, one row.
        chips: `(n, columns of the chip)`.
    """
    rows = np.empty((len(chips), len(networks) + chips.shape[1]), np.uint8)
    rows[:, : len(networks)] = networks
    rows[:, len(networks) :] = chips
    return rows
