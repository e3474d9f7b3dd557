"""DropNAS: a mixture in which operations drop out by groups, trained in one level.

Hong et al., DropNAS: Grouped Operation Dropout for Differentiable Architecture Search, IJCAI
2020, and the authors' released code. One loss on one batch trains weights and architecture at the
same time. In every step each operation of an edge is dropped with the rate `r^(1/|g|)`, g being
its group: operations that convolve, and the others, none among them; no group loses all. The
softmax is over those that are kept. After a step all kept parameters of an edge are shifted by

    k = ln[ rho / (1 - rho) * sum_dropped e^a / sum_kept e^a ],

rho being their share before, so that dropped operations keep their probabilities. Weight decay
acts on what was kept alone.

Differs from the paper:
- It has no cost. The expected cost here is that of the distribution over the kept operations.
- It trains on the training and the validation images; here validation images are set apart, for
  they choose among the candidates at the end.
- The learning rate of the architecture follows from the length of the run, see
  `CellStrategy.ARCHITECTURE_TRAVEL`; those of the weights are in `CELL_TRAINING`.
- Cells that share their decisions share what is dropped.
- Adam's moments of dropped operations stay as they are.
"""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hwnas.search.gradient.cell_strategy import CellStrategy
from hwnas.search.gradient.strategy import GradientProblem
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["DropNas"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


class DropNas(CellStrategy):
    """Grouped operation dropout.

    Args:
        problem: What it works on.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: The space is not made of cells whose nodes read two edges.
    """

    name = "drop-nas"

    GROUP_DROP_RATE: ClassVar[float] = 3e-5
    """r, the probability that a whole group would be dropped; Hong et al."""
    ARCHITECTURE_DECAY = 0.0
    PARTIAL_DECAY: ClassVar[float] = 1e-3
    """Decay of kept parameters of the architecture, relative to its learning rate; Hong et al."""

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        candidates = self.distribution.parameters.shape[1]
        operations = self.distribution.slots.layout.operations
        convolves = [operation.is_parametric for operation in operations]
        convolves += [False] * (candidates - len(convolves))
        found = torch.tensor(convolves)
        self.groups = tuple(group for group in (found, ~found) if bool(group.any()))
        """Which candidates are in each group, `(k + 1,)`."""
        self.drop_rates = np.zeros(candidates)
        """Rate at which each candidate is dropped, `(k + 1,)`."""
        for group in self.groups:
            self.drop_rates[group.numpy()] = self.GROUP_DROP_RATE ** (1.0 / int(group.sum()))

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split."""
        pending: list[Callable[[], None]] = []

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            for update in pending:
                update()
            pending.clear()
            kept = self.draw_kept(self.problem.rng)
            total = torch.zeros_like(self.distribution.parameters)

            def step(part: Batch) -> Metrics:
                metrics, gradient = self.one_level_step(part, kept)
                total.add_(gradient, alpha=len(part.labels) / len(batch.labels))
                return metrics

            pending.append(lambda: self.update(total, kept))
            return step

        metrics = self._loop.epoch(begin_step, self._optimiser, self.order(), epoch)
        for update in pending:
            update()
        return metrics | self.summary()

    def draw_kept(self, rng: np.random.Generator) -> Tensor:
        """Which candidates of each edge are kept, `(e, k + 1)`; one of each group at least.

        A group that would lose all of an edge is drawn again.
        """
        shape = tuple(self.distribution.parameters.shape)
        kept = torch.from_numpy(rng.random(shape) >= self.drop_rates)
        for group in self.groups:
            while bool((empty := ~kept[:, group].any(1)).any()):
                again = rng.random((int(empty.sum()), int(group.sum())))
                rows = kept[empty]
                rows[:, group] = torch.from_numpy(again >= self.drop_rates[group.numpy()])
                kept[empty] = rows
        return kept

    def one_level_step(self, batch: Batch, kept: Tensor) -> tuple[Metrics, Tensor]:
        """Gradients of weights, set, and of the architecture, returned as `(e, k + 1)`.

        Args:
            batch: Of training images.
            kept: `(e, k + 1)`.
        """
        probabilities = self.distribution.probabilities(kept)
        task = self.task_loss(batch.images, batch.labels, probabilities)
        loss = self.with_cost(task, probabilities)
        parameters = list(self.supernet.parameters())
        scaled = self._loop.scale(loss)
        gradient, *gradients = torch.autograd.grad(
            scaled, [self.distribution.parameters, *parameters], allow_unused=True
        )
        for parameter, found in zip(parameters, gradients, strict=True):
            parameter.grad = found
        factor = float(self._loop.scale(torch.ones((), device=loss.device)))
        metrics = {"loss": float(task.detach()), "loss_with_cost": float(loss.detach())}
        return metrics, gradient / factor

    @torch.no_grad()
    def update(self, gradient: Tensor, kept: Tensor) -> None:
        """One step of the architecture that changes no probability of a dropped candidate.

        Args:
            gradient: `(e, k + 1)`; a step that is not finite is left out, as half precision has
                them while its scale is sought.
            kept: `(e, k + 1)`.
        """
        if not bool(torch.isfinite(gradient).all()):
            return
        parameters, optimiser = self.distribution.parameters, self._architecture_optimiser
        before = parameters.clone()
        state = optimiser.state[parameters]
        moments = {
            name: state[name].clone() if name in state else torch.zeros_like(before)
            for name in _MOMENTS
        }
        parameters.grad = torch.where(kept, gradient, torch.zeros_like(gradient))
        optimiser.step()
        state = optimiser.state[parameters]
        for name, old in moments.items():
            state[name].copy_(torch.where(kept, state[name], old))
        moved = parameters * (1.0 - optimiser.param_groups[0]["lr"] * self.PARTIAL_DECAY)
        share = _log_sum(before, kept) - _log_sum(moved, kept)
        shift = torch.where((~kept).any(1, keepdim=True), share, torch.zeros_like(share))
        parameters.copy_(torch.where(kept, moved + shift, before))


def _log_sum(parameters: Tensor, kept: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials of those that are kept, `(e, 1)`."""
    return parameters.masked_fill(~kept, -torch.inf).logsumexp(1, keepdim=True)
