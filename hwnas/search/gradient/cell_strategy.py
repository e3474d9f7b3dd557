"""What strategies that mix all operations of all edges have in common.

They own the weights of a cell space, parameters for every edge, and an optimiser for each. The
expected cost of the distribution joins the task loss by the hardware loss.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.search.gradient.cell_distribution import CellDistribution
from hwnas.search.gradient.strategy import GradientProblem, GradientStrategy, reading_state
from hwnas.supernet.cell_supernet import MixedCells
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.loop import DivergenceError, TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics

__all__ = ["CELL_TRAINING", "CellStrategy"]

Row = npt.NDArray[np.uint8]

CELL_TRAINING = TrainingOptions(epochs=20, learning_rate=0.3, weight_decay=3e-4)
"""DARTS's weight decay. Its learning rate of 0.025 is for 50 epochs of 390 steps: in 4 epochs of
33 steps on `cells-digits` the validation loss of the mixture was 0.68 with 0.03, 0.65 with 0.1 and
0.62 with 0.3 (one seed each)."""


class CellStrategy(GradientStrategy):
    """A softmax over the operations of every edge, trained by Adam.

    Args:
        problem: What it works on.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: The space is not made of cells whose nodes read two edges.
    """

    defaults = CELL_TRAINING

    with_none: ClassVar[bool] = True
    """Whether none is a candidate during the search; it weakens edges and is never derived."""
    ARCHITECTURE_TRAVEL: ClassVar[float] = 6.0
    """How far a parameter can go that every step moves the same way: 3e-4 in 50 epochs of 390
    steps in the published run. The learning rate of a shorter run is larger by as much."""
    ARCHITECTURE_MOST: ClassVar[float] = 0.1
    """Largest learning rate of the architecture: a few noisy steps must not decide an edge."""
    ARCHITECTURE_BETAS: ClassVar[tuple[float, float]] = (0.5, 0.999)
    ARCHITECTURE_DECAY: ClassVar[float] = 1e-3

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        self.distribution = CellDistribution(self.space, problem.rng, with_none=self.with_none)
        self._loop = TrainingLoop(problem.dataset, self.options, problem.generator, problem.device)
        self.supernet = ElasticSupernet(self.space, problem.generator).to(problem.device)
        self.cells = MixedCells(self.supernet)
        self._optimiser = make_optimiser(list(self.supernet.parameters()), self.options)
        self._architecture_optimiser = torch.optim.Adam(
            [self.distribution.parameters],
            lr=self.architecture_learning_rate(),
            betas=self.ARCHITECTURE_BETAS,
            weight_decay=self.ARCHITECTURE_DECAY,
        )
        self._x = torch.from_numpy(problem.dataset.x_val).to(problem.device)
        self._y = torch.from_numpy(problem.dataset.y_val).to(problem.device)

    def search_epochs(self) -> int:
        """Epochs in which the architecture's parameters are trained."""
        return self.options.epochs

    def architecture_learning_rate(self) -> float:
        """Adam's step, so that parameters can travel as far in a short run as in a long one."""
        batches = len(self.problem.dataset.x_train) // self.options.batch_size
        steps = self.search_epochs() * batches
        return min(self.ARCHITECTURE_TRAVEL / max(1, steps), self.ARCHITECTURE_MOST)

    def task_loss(self, images: Tensor, labels: Tensor, probabilities: Tensor) -> Tensor:
        """Cross-entropy of the mixture.

        Args:
            images: `(n, c, h, w)`.
            labels: `(n,)`.
            probabilities: `(e, k)` or `(e, k + 1)`, of the distribution.
        """
        weights = self.distribution.edge_weights(probabilities.to(images.device, images.dtype))
        return functional.cross_entropy(
            self.cells(images, weights), labels, label_smoothing=self.options.label_smoothing
        )

    def expected_cost(self, probabilities: Tensor) -> Tensor:
        """Expected costs of the derived network, `(m,)`, differentiable.

        Args:
            probabilities: `(e, k)` or `(e, k + 1)`, of the distribution.
        """
        weights = self.distribution.slot_weights(probabilities)
        return self.problem.expected.expected_of_slots(weights)

    def with_cost(self, task: Tensor, probabilities: Tensor) -> Tensor:
        """Task loss and expected cost in one."""
        return self.problem.hardware_loss(task, self.expected_cost(probabilities).to(task.device))

    def validation_batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Images `(n, c, h, w)` and labels `(n,)`, distinct, as many as there are at most."""
        generator = self.problem.generator
        chosen = torch.randperm(len(self._x), generator=generator)[:size].to(self._x.device)
        return self._x[chosen], self._y[chosen]

    def order(self) -> Tensor:
        """A random order of the training split."""
        count = len(self.problem.dataset.x_train)
        return torch.randperm(count, generator=self.problem.generator)

    def summary(self) -> Metrics:
        """Expected costs, and how certain the edges are of their operations on the average."""
        with torch.no_grad():
            probabilities = self.distribution.probabilities()
            costs = self.expected_cost(probabilities)
            certainty = self.distribution.operations(probabilities).amax(1).mean()
        named = zip(self.problem.expected.metrics, costs.tolist(), strict=True)
        return {f"expected_{name}": cost for name, cost in named} | {"certainty": float(certainty)}

    def checked(self, metrics: Metrics, epoch: int) -> Metrics:
        """The metrics of an architecture step.

        Raises:
            DivergenceError: One is not finite.
        """
        if not all(map(math.isfinite, metrics.values())):
            raise DivergenceError(
                f"{self.name} diverged in epoch {epoch + 1} at an architecture step: {metrics}; "
                f"lower the learning rate of {self.options.learning_rate:g}"
            )
        return metrics

    def derive(self) -> Row:
        """The two strongest edges of each node, by their strongest operations."""
        return self.distribution.derive()

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probability of each option of each decision."""
        return self.distribution.preference()

    def state(self) -> dict[str, Any]:
        """Architecture parameters and both optimisers."""
        return {
            "architecture": self.distribution.parameters.detach().clone(),
            "architecture_optimiser": self._architecture_optimiser.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        with reading_state(self.name):
            self.distribution.restore(state["architecture"])
            self._architecture_optimiser.load_state_dict(state["architecture_optimiser"])
            self._optimiser.load_state_dict(state["optimiser"])
