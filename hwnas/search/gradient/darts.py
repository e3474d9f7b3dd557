"""DARTS: operations of every edge in a mixture, weights and mixture trained on two splits.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, and the authors' released code.
An edge carries `sum_o softmax(a)_o o(x)`. For every training batch, first a step of the
architecture on a validation batch,

    a <- a - Adam(dL_val(w - xi dL_train(w, a)/dw, a)/da),

where xi is 0 in the first-order method and the weights' learning rate in the second-order one,
then a step of the weights. L_val holds the expected cost by the hardware loss. At the end a node
keeps its two strongest edges, each with its strongest operation but none.

Differs from the paper:
- It has no cost; the distribution over pairs of edges that the expected cost needs is described in
  `hwnas.search.gradient.cell_distribution`.
- The learning rate of the architecture follows from the length of the run, see
  `CellStrategy.ARCHITECTURE_TRAVEL`; those of the weights are in `CELL_TRAINING`.
- Operations have learned scales in the search too, so the derived network inherits its weights.
- The unrolled step has momentum and weight decay as in the released code, but neither Nesterov's
  look-ahead nor the clipping that the weight step itself has.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hwnas.search.gradient.cell_strategy import CellStrategy
from hwnas.search.gradient.unrolled import unrolled_gradient
from hwnas.training.options import learning_rate_at
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["Darts", "SecondOrderDarts"]

_Gradients = Sequence[Tensor | None]


class Darts(CellStrategy):
    """First order: the architecture's gradient at the weights as they are."""

    name = "darts"

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split, an architecture step before every weight step."""
        return self.search_epoch(epoch) | self.summary()

    def search_epoch(self, epoch: int, rate_at: Callable[[float], float] | None = None) -> Metrics:
        """The same, without the summary.

        Args:
            epoch: From 0.
            rate_at: Share of all steps to learning rate; by default that of the options.
        """
        found: list[Metrics] = []
        rate_at = rate_at or partial(learning_rate_at, self.options)

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            step = self.architecture_step(batch, rate_at(batch.progress))
            found.append(self.checked(step, epoch))
            return partial(self.weight_step, self.distribution.probabilities().detach())

        metrics = self._loop.epoch(
            begin_step, self._optimiser, self.order(), epoch, rate_at=rate_at
        )
        for name in found[0] if found else ():
            metrics[name] = float(np.mean([row[name] for row in found]))
        return metrics

    def architecture_step(self, batch: Batch, rate: float) -> Metrics:
        """One step of the architecture on a random validation batch.

        Args:
            batch: The training batch of the weight step that follows.
            rate: Learning rate of that step.
        """
        images, labels = self.validation_batch(self.options.batch_size)
        tasks: list[float] = []

        def validation_loss() -> Tensor:
            probabilities = self.distribution.probabilities()
            task = self.task_loss(images, labels, probabilities)
            tasks.append(float(task.detach()))
            return self.with_cost(task, probabilities)

        gradient, loss = self.architecture_gradient(validation_loss, batch, rate)
        self.distribution.parameters.grad = gradient
        self._architecture_optimiser.step()
        return {"architecture_loss": float(loss), "validation_loss": tasks[-1]}

    def architecture_gradient(
        self, validation_loss: Callable[[], Tensor], batch: Batch, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Gradient `(e, k + 1)` for the architecture, and the validation loss.

        Args:
            validation_loss: At the current weights and architecture.
            batch: The training batch of the weight step that follows.
            rate: Learning rate of that step.
        """
        del batch, rate
        loss = validation_loss()
        (gradient,) = torch.autograd.grad(loss, [self.distribution.parameters])
        return gradient, loss.detach()

    def weight_step(self, probabilities: Tensor, batch: Batch) -> Metrics:
        """Gradients of the weights; those of operations that are not computed have None.

        Args:
            probabilities: `(e, k + 1)`, detached.
            batch: Of training images.
        """
        loss = self.task_loss(batch.images, batch.labels, probabilities)
        parameters = list(self.supernet.parameters())
        gradients = torch.autograd.grad(self._loop.scale(loss), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return {"loss": float(loss.detach())}


class SecondOrderDarts(Darts):
    """Second order: the gradient through one step of the weights; about 2.5 times the work."""

    name = "darts-2nd"

    def architecture_gradient(
        self, validation_loss: Callable[[], Tensor], batch: Batch, rate: float
    ) -> tuple[Tensor, Tensor]:
        """Gradient through the weight step that would follow."""

        def training_loss() -> Tensor:
            return self.task_loss(batch.images, batch.labels, self.distribution.probabilities())

        return unrolled_gradient(
            training_loss,
            validation_loss,
            list(self.supernet.parameters()),
            self.distribution.parameters,
            self._unrolled_step,
            rate,
        )

    def _unrolled_step(self, gradients: _Gradients) -> _Gradients:
        """What the optimiser would subtract, divided by the learning rate."""
        of: dict[int, dict[str, Any]] = {
            id(p): group for group in self._optimiser.param_groups for p in group["params"]
        }
        found: list[Tensor | None] = []
        with torch.no_grad():
            for parameter, gradient in zip(self.supernet.parameters(), gradients, strict=True):
                if gradient is None:
                    found.append(None)
                    continue
                group = of[id(parameter)]
                step = gradient + group["weight_decay"] * parameter
                moment = self._optimiser.state[parameter].get("momentum_buffer")
                if moment is not None:
                    step = step + group["momentum"] * moment
                found.append(step)
        return found
