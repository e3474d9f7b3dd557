"""Single-Path NAS: kernels, widths and blocks are kept by thresholds on the norms of weights.

Stamoulis et al., Single-Path NAS: Designing Hardware-Efficient ConvNets in less than 4 Hours,
2019, and the authors' code. All networks are masks of one largest network
(`hwnas.supernet.superkernel`). One optimiser trains weights and thresholds together, on training
data, by

    L = CE + hardware cost(R),   R = sum_b R_b(indicators),

with R the compiled cost table, multilinear in the indicators and exact for every network, and by
default `lambda ln R`, or an augmented Lagrangian under budgets. In the first 5 of 8 epochs cost
has no weight and indicators drop out at random. The hard indicators at the end are the result.

Differs from the paper:
- Those of `hwnas.supernet.superkernel`.
- The runtime model is exact; the published one has no 3x3 entry with expansion 3 of its own.
- Indicators that are not dropped keep the value 1, so that every pass of the warm-up trains a
  network of the space; there, they are scaled by 1 / 0.6.
- Thresholds have no weight decay: it would pull them to 0, which is to keep everything.
- Thresholds have no momentum, but a learning rate that makes up for it, so that they stop as soon
  as a budget is met. It stays where it is at the end of the warm-up: with that of the weights,
  which ends at a hundredth, a network that is over its budget late in the search stays there.
- Thresholds stay within `reach` of their norms. A decision that the cost has pushed far away has
  no gradient left by which it could come back when the budget allows it.
- Gradient descent with momentum and the options of this project in place of RMSProp; no average
  of weights over steps.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.search.gradient.strategy import GradientProblem, GradientStrategy, reading_state
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.superkernel import SuperkernelNetwork
from hwnas.training.loop import TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions, learning_rate_at
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["SinglePath"]

Row = npt.NDArray[np.uint8]


class SinglePath(GradientStrategy):
    """Superkernels with learned thresholds.

    Args:
        problem: What it works on; the validation split is not used.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: Options of a decision are not parts of one another.
    """

    name = "single-path"
    defaults = TrainingOptions(epochs=30)

    warmup_share: ClassVar[float] = 0.625
    """5 of 8 epochs there."""
    keep: ClassVar[float] = 0.6
    """Chance of an indicator to stay in a pass of the warm-up."""
    reach: ClassVar[float] = 1.0
    """Farthest that a threshold may be from its norm."""

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        self._loop = TrainingLoop(problem.dataset, self.options, problem.generator, problem.device)
        self.supernet = ElasticSupernet(
            self.space,
            problem.generator,
            zero_residual_scale=self.options.zero_residual_scale,
        )
        self.network = SuperkernelNetwork(self.supernet).to(problem.device)
        self._optimiser = make_optimiser(list(self.supernet.parameters()), self.options)
        self._optimiser.add_param_group(
            {
                "params": [self.network.thresholds],
                "weight_decay": 0.0,
                "momentum": 0.0,
                "nesterov": False,
            }
        )

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split."""
        generator = self.problem.generator
        thresholds = self._optimiser.param_groups[-1]

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            thresholds["lr"] = self.threshold_learning_rate(batch.progress)
            self._keep_in_reach()
            kept = None
            if epoch < self.warmup_epochs:
                drawn = torch.rand(len(self.network.thresholds), generator=generator)
                kept = (drawn < self.keep).to(batch.images)
            return partial(self.step, kept)

        order = torch.randperm(len(self.problem.dataset.x_train), generator=generator)
        return self._loop.epoch(begin_step, self._optimiser, order, epoch)

    def step(self, kept: Tensor | None, batch: Batch) -> Metrics:
        """Gradients of weights and thresholds; without drop-out also of the cost.

        Args:
            kept: `(k,)` 1 for indicators that stay, 0 for others; None after the warm-up.
            batch: The batch.
        """
        indicators = self.network.indicators()
        shown = indicators if kept is None else indicators * kept
        logits = self.network(batch.images, shown)
        task = functional.cross_entropy(
            logits, batch.labels, label_smoothing=self.options.label_smoothing
        )
        loss = task
        if kept is None:
            expected = self.problem.expected.expected(self.network.probabilities(indicators))
            loss = self.problem.hardware_loss(task, expected.to(task.device))
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(self._loop.scale(loss), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return {"loss": task.item(), "loss_with_cost": loss.item()}

    def threshold_learning_rate(self, progress: float) -> float:
        """Learning rate of the thresholds after a share of all steps.

        Args:
            progress: Share of all steps that were made.
        """
        held = max(self.warmup_share, self.options.warmup_share)
        rate = learning_rate_at(self.options, min(progress, held))
        return rate / (1.0 - self.options.momentum)

    def derive(self) -> Row:
        """The network of the hard indicators."""
        with torch.no_grad():
            return self.network.row(self.network.indicators())

    @torch.no_grad()
    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probabilities of options if an indicator were 1 with `sigmoid(norm - threshold)`."""
        margins = (self.network.norms() - self.network.thresholds).double()
        found = self.network.probabilities(torch.sigmoid(margins))
        return [p.clamp(min=1e-30).log().cpu().numpy() for p in found]

    def state(self) -> dict[str, Any]:
        """Thresholds and optimiser."""
        return {
            "thresholds": self.network.thresholds.detach().clone(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._loop.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        with reading_state(self.name):
            thresholds = state["thresholds"]
            if thresholds.shape != self.network.thresholds.shape:
                raise ValueError(f"{tuple(thresholds.shape)} thresholds")
            with torch.no_grad():
                self.network.thresholds.copy_(thresholds)
            self._optimiser.load_state_dict(state["optimiser"])
            self._loop.scaler.load_state_dict(state["scaler"])

    # Private -----------------------------------------------------------------------------------

    @torch.no_grad()
    def _keep_in_reach(self) -> None:
        """Thresholds near their norms, so that every decision can still be changed."""
        norms, thresholds = self.network.norms(), self.network.thresholds
        thresholds.clamp_(min=norms - self.reach, max=norms + self.reach)
