"""TangleNAS: shared weights of all options are mixed in one operation, in a single stage.

Sukthanker et al., TangleNAS: Weight-Entanglement Meets Gradient-Based Neural Architecture Search,
2023. Every decision has parameters a and option weights, by default softmax(a), and the network
runs with the mixture of the options' weights (`hwnas.supernet.entangled`). Steps take turns: one
of the parameters on a validation batch, by

    L = CE + hardware cost(E[cost]),

and one of the weights on a training batch. The most likely option of each decision is the result;
it inherits its weights. Option weights can also be drawn, from a Dirichlet distribution (DrNAS) or
as one-hot vectors (GDAS).

Differs from the paper:
- Parameters learn as fast as the length of the run demands, see `ARCHITECTURE_TRAVEL`.
- The temperature of the softmax falls, so that the mixture ends near the network that is derived:
  at temperature 1 the derived network's cost went up and down by a factor of 2 between epochs.
- In the last epochs the weights are trained in the network that is derived at that moment, without
  a mixture, see `settled_share`: inherited weights are then those of that network.
- The depth of a stage is mixed block by block: each one that may be absent is a mixture of its
  result and its input.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.search.gradient.relaxed_draws import DRAWS
from hwnas.search.gradient.strategy import GradientProblem, GradientStrategy, reading_state
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.entangled import EntangledNetwork
from hwnas.training.loop import DivergenceError, TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["TangleNas"]

Row = npt.NDArray[np.uint8]


class TangleNas(GradientStrategy):
    """Entangled weights.

    Args:
        problem: What it works on; the validation split trains the architecture.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: Options of a block are no parts of one another.
    """

    name = "tangle-nas"
    defaults = TrainingOptions(epochs=30)

    draw: ClassVar[str] = "softmax"
    """How option weights follow from parameters; a name in `DRAWS`."""
    temperatures: ClassVar[tuple[float, float]] = (1.0, 0.1)
    """At the start and at the end, linear between."""
    settled_share: ClassVar[float] = 0.2
    """Share of the epochs, at the end, in which weights are trained in the derived network."""
    initial_deviation: ClassVar[float] = 1e-3
    """Of the parameters."""
    ARCHITECTURE_TRAVEL: ClassVar[float] = 10.0
    """How far a parameter can go that every update moves the same way."""
    ARCHITECTURE_MOST: ClassVar[float] = 0.1
    """Largest learning rate of the parameters."""

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        self._loop = TrainingLoop(problem.dataset, self.options, problem.generator, problem.device)
        self.supernet = ElasticSupernet(
            self.space,
            problem.generator,
            zero_residual_scale=self.options.zero_residual_scale,
        )
        self.network = EntangledNetwork(self.supernet).to(problem.device)
        self._optimiser = make_optimiser(list(self.network.parameters()), self.options)
        self.parameters = [
            torch.from_numpy(problem.rng.normal(0.0, self.initial_deviation, int(count)))
            for count in self.space.option_counts
        ]
        for parameter in self.parameters:
            parameter.requires_grad_(len(parameter) > 1)
        self._free = [parameter for parameter in self.parameters if parameter.requires_grad]
        updates = self.options.epochs * (len(problem.dataset.x_train) // self.options.batch_size)
        self._architecture_optimiser = torch.optim.Adam(
            self._free or [torch.zeros(0, requires_grad=True)],
            lr=min(self.ARCHITECTURE_MOST, self.ARCHITECTURE_TRAVEL / max(1, updates)),
            betas=(0.5, 0.999),
        )
        self._x = torch.from_numpy(problem.dataset.x_val).to(problem.device)
        self._y = torch.from_numpy(problem.dataset.y_val).to(problem.device)

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split, an architecture step before each weight step."""
        found: list[Metrics] = []
        is_settled = epoch >= (1.0 - self.settled_share) * self.options.epochs

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            found.append(self._checked(self.architecture_step(batch.progress), epoch))
            if is_settled:
                path = self.space.architecture(self.derive())
                return partial(self._weight_step, lambda images: self.supernet(images, path))
            with torch.no_grad():
                weights = self.option_weights(batch.progress)
            return partial(self._weight_step, lambda images: self.network(images, weights))

        generator = self.problem.generator
        order = torch.randperm(len(self.problem.dataset.x_train), generator=generator)
        metrics = self._loop.epoch(begin_step, self._optimiser, order, epoch)
        for name in found[0] if found else ():
            metrics[name] = float(np.mean([row[name] for row in found]))
        return metrics | self._summary()

    def option_weights(self, progress: float) -> list[Tensor]:
        """Weights of the options of each decision, `(k,)`, differentiable.

        Args:
            progress: Share of all steps that were made.
        """
        first, last = self.temperatures
        temperature = first + (last - first) * min(progress, 1.0)
        draw = DRAWS[self.draw]
        return [
            draw(parameter, self.problem.generator, temperature)
            if parameter.requires_grad
            else torch.ones_like(parameter)
            for parameter in self.parameters
        ]

    def architecture_step(self, progress: float) -> Metrics:
        """One update of the parameters on a validation batch."""
        generator = self.problem.generator
        chosen = torch.randperm(len(self._x), generator=generator)[: self.options.batch_size]
        chosen = chosen.to(self._x.device)
        weights = self.option_weights(progress)
        logits = self.network(self._x[chosen], weights)
        task = functional.cross_entropy(
            logits, self._y[chosen], label_smoothing=self.options.label_smoothing
        )
        expected = self.problem.expected.expected(weights)
        loss = self.problem.hardware_loss(task, expected.to(task.device))
        if self._free:
            gradients = torch.autograd.grad(loss, self._free, allow_unused=True)
            for parameter, gradient in zip(self._free, gradients, strict=True):
                parameter.grad = gradient
            self._architecture_optimiser.step()
        return {"architecture_loss": float(loss.detach()), "validation_loss": float(task.detach())}

    def derive(self) -> Row:
        """The most likely option of each decision."""
        most = [int(parameter.detach().argmax()) for parameter in self.parameters]
        row: Row = self.space.canonicalise(np.array([most], dtype=np.uint8))[0]
        return row

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probabilities of options."""
        return [p.detach().log_softmax(0).numpy().copy() for p in self.parameters]

    def state(self) -> dict[str, Any]:
        """Architecture parameters and both optimisers."""
        return {
            "architecture": [parameter.detach().clone() for parameter in self.parameters],
            "architecture_optimiser": self._architecture_optimiser.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._loop.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        with reading_state(self.name):
            with torch.no_grad():
                for parameter, found in zip(self.parameters, state["architecture"], strict=True):
                    if parameter.shape != found.shape:
                        raise ValueError(f"parameters of shape {tuple(found.shape)}")
                    parameter.copy_(found)
            self._architecture_optimiser.load_state_dict(state["architecture_optimiser"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._loop.scaler.load_state_dict(state["scaler"])

    # Private -----------------------------------------------------------------------------------

    def _checked(self, metrics: Metrics, epoch: int) -> Metrics:
        if not all(map(math.isfinite, metrics.values())):
            raise DivergenceError(
                f"{self.name} diverged in epoch {epoch + 1} at an architecture step: {metrics}; "
                f"lower the learning rate of {self.options.learning_rate:g}"
            )
        return metrics

    def _weight_step(self, network: Callable[[Tensor], Tensor], batch: Batch) -> Metrics:
        """Gradients of the weights; those that the network does not use have None."""
        logits = network(batch.images)
        task = functional.cross_entropy(
            logits, batch.labels, label_smoothing=self.options.label_smoothing
        )
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(self._loop.scale(task), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return {"loss": task.item()}

    def _summary(self) -> Metrics:
        """Expected costs of the softmax, and how certain the decisions are on the average."""
        probabilities = [parameter.detach().softmax(0) for parameter in self.parameters]
        costs = self.problem.expected.expected(probabilities)
        named = zip(self.problem.expected.metrics, costs.tolist(), strict=True)
        free = [
            float(p.max())
            for p, parameter in zip(probabilities, self.parameters, strict=True)
            if parameter.requires_grad
        ]
        certainty = float(np.mean(free)) if free else 1.0
        return {f"expected_{name}": cost for name, cost in named} | {"certainty": certainty}
