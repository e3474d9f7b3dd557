"""Errors of the networks of designs: one estimator for each task, and a weight."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hwnas.errors import QuantityError
from hwnas.estimators import Estimator
from hwnas.search import State
from hwnas.search.strategy import check_lengths, restored_array, restored_rows
from hwnas.spaces import JointSpace, Population

__all__ = ["TaskErrors", "check_weights"]

Floats = npt.NDArray[np.float64]

_WEIGHT_SUM_TOLERANCE = 1e-6


def check_weights(weights: Sequence[float], tasks: int) -> tuple[float, ...]:
    """The weights of tasks, once they are known to be ones.

    Raises:
        QuantityError: Not one for each task, one is negative, or they do not sum to 1.
    """
    if len(weights) != tasks:
        raise QuantityError(f"{len(weights)} weights for {tasks} spaces: give one for each")
    if not all(math.isfinite(weight) and weight >= 0.0 for weight in weights):
        raise QuantityError(f"weights {', '.join(map(str, weights))}: each must be 0 or more")
    if abs(sum(weights) - 1.0) > _WEIGHT_SUM_TOLERANCE:
        raise QuantityError(
            f"weights {', '.join(map(str, weights))} sum to {sum(weights):g}: they are shares of "
            "1, such as .5,.5"
        )
    return tuple(weights)


class TaskErrors:
    """Weighted error of the networks of designs, each distinct network asked for once.

    Args:
        joint: Networks' spaces in order, then the chips'.
        estimators: One for each network's space.
        weights: Shares of 1, one for each network's space.

    Raises:
        QuantityError: The weights are none.
    """

    def __init__(
        self, joint: JointSpace, estimators: Sequence[Estimator], weights: Sequence[float]
    ) -> None:
        self._joint = joint
        self._estimators = tuple(estimators)
        self.weights = np.array(check_weights(weights, len(joint.spaces) - 1))
        self._known: list[dict[bytes, float]] = [{} for _ in estimators]

    @property
    def queries(self) -> tuple[int, ...]:
        """Distinct networks of each task whose error is known."""
        return tuple(len(known) for known in self._known)

    def errors(self, population: Population) -> Floats:
        """Error of each network, `(n, tasks)`, from 0 to 1.

        Args:
            population: Canonical rows of the joint space, `(n, d)`.
        """
        found = np.empty((len(population), len(self._estimators)))
        for task, part in enumerate(self._joint.split(population)[:-1]):
            known = self._known[task]
            keys = [row.tobytes() for row in part]
            new = {key: row for row, key in enumerate(keys) if key not in known}
            if new:
                asked = self._estimators[task].error(part[list(new.values())])
                known.update(zip(new, np.asarray(asked).tolist(), strict=True))
            found[:, task] = [known[key] for key in keys]
        return found

    def weighted(self, population: Population) -> Floats:
        """Weighted error of each design's networks, `(n,)`.

        Args:
            population: Canonical rows of the joint space, `(n, d)`.
        """
        total: Floats = self.errors(population) @ self.weights
        return total

    def state(self) -> State:
        """All errors that are known."""
        state: State = {}
        for task, known in enumerate(self._known):
            width = len(self._joint.spaces[task].decisions)
            rows = np.frombuffer(b"".join(known), np.uint8).reshape(-1, width)
            state[f"rows{task}"] = rows.copy()
            state[f"errors{task}"] = np.array(list(known.values()), np.float64)
        return state

    def restore(self, state: State) -> None:
        """Take in what is known, so that it is not asked for again.

        Args:
            state: What `state` returned; not trusted.

        Raises:
            RunError: It is malformed or of other spaces.
        """
        for task in range(len(self._known)):
            counts = self._joint.spaces[task].option_counts
            rows = restored_rows(state, f"rows{task}", counts)
            errors = restored_array(state, f"errors{task}", np.float64, 1)
            check_lengths(len(rows), {f"errors{task}": errors})
            keys = [row.tobytes() for row in rows]
            self._known[task] = dict(zip(keys, errors.tolist(), strict=True))
