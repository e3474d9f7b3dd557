"""Delayed epsilon-shrinking: the largest sub-net first, then all of them by its half-trained self.

Annavajjala et al., D-epsilon-pS: Delayed epsilon-Shrinking for Faster Once-For-All Training, ECCV
2024. For the first part of the training only the largest sub-net learns, from labels. Then the
sandwich begins, with the largest as the teacher of the others, and in a short ramp their effective
learning rate rises linearly from zero to that of the largest: their gradients are multiplied by
`child_weight`.

Differs from the released code: the optional sorting of channels at the switch is left out; the
temperature of the distillation is 1, the released default; no dropout, for the spaces declare
none; learning rate and batch size are this project's.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hwnas.spaces import Architecture
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Gradients, Metrics, path_gradients, set_gradients
from hwnas.training.recipe import Batch
from hwnas.training.recipes.bignas import BigNas

__all__ = ["Aggregation", "Deps", "child_weight"]

Aggregation = Literal["sum", "avg", "avg_sqrt"]
WARMUP_SHARE = 0.5  # of all steps: about half of the budget
RAMP_SHARE = 5 / 270  # 5 of 270 epochs


def child_weight(
    rate_at: Callable[[float], float], progress: float, warmup_share: float, ramp_share: float
) -> float:
    """Factor of the gradients of all sub-nets but the largest.

    It is 0 up to the begin of the ramp and 1 from its end. Between them it is such that its
    product with the learning rate rises linearly to the learning rate at the end of the ramp.

    Args:
        rate_at: Share of all steps to learning rate.
        progress: Share of all steps that were made, from 0 to 1.
        warmup_share: Where the ramp ends.
        ramp_share: Length of the ramp; 0 for a jump.
    """
    if progress >= warmup_share:
        return 1.0
    begin = warmup_share - ramp_share
    if progress <= begin or ramp_share <= 0.0:
        return 0.0
    phase = (progress - begin) / ramp_share
    rate = rate_at(progress)
    return phase * rate_at(warmup_share) / rate if rate > 0.0 else phase


class Deps(BigNas):
    """BigNAS whose children come late."""

    name = "deps"
    defaults = replace(TrainingOptions(), weight_decay=3e-5)
    warmup_share: ClassVar[float] = WARMUP_SHARE
    ramp_share: ClassVar[float] = RAMP_SHARE
    aggregation: ClassVar[Aggregation] = "sum"
    """How gradients of the sub-nets meet in a weight: their sum, or that divided by the sum of
    the factors of the sub-nets that use the weight (`avg`), or by its square root."""

    def weight_of_children(self, batch: Batch) -> float:
        """Factor of the gradients of all sub-nets but the largest, in the step of a batch."""
        return child_weight(self.learning_rate, batch.progress, self.warmup_share, self.ramp_share)

    def draw(self, batch: Batch) -> list[Architecture]:
        """The largest; with the others as soon as they count."""
        if self.weight_of_children(batch) == 0.0:
            return [self.space.largest()]
        return super().draw(batch)

    def step(self, paths: list[Architecture], batch: Batch) -> Metrics:
        """Set the gradients: those of the children weigh `weight_of_children`.

        Args:
            paths: From `draw`.
            batch: The batch.

        Returns:
            `loss` of the largest, mean `loss_others` of the others if there are any, and
            `child_weight`.
        """
        gradients, losses = path_gradients(
            self.supernet,
            paths,
            batch.images,
            lambda index, logits, teacher: self.objective(index, logits, teacher, batch),
            executor=self.context.executor,
            scale=self.context.scale,
        )
        weight = self.weight_of_children(batch)
        weights = [1.0] + [weight] * (len(paths) - 1)
        parameters = list(self.supernet.parameters())
        set_gradients(parameters, list(map(_weighted, gradients, weights)))
        if self.aggregation != "sum":
            used = list(map(_weighted, map(self._used, paths), weights))
            self._divide(parameters, used)
        metrics = {"loss": losses[0], "child_weight": weight}
        if len(losses) > 1:
            metrics["loss_others"] = sum(losses[1:]) / (len(losses) - 1)
        return metrics

    def _used(self, path: Architecture) -> Gradients:
        """1 for every entry of a parameter that a sub-net uses; None for an unused parameter.

        The derivative of the sum of a sub-net's weights, whatever way the supernet cuts them.
        """
        weights: list[Tensor] = []
        for block in range(len(self.space.blocks)):
            choice = tuple(path.indices[column] for column in self.space.columns_of(block))
            weights += self.supernet.block_weights(block, choice).values()
        total = torch.stack([weight.sum() for weight in weights]).sum()
        parameters = list(self.supernet.parameters())
        found = torch.autograd.grad(total, parameters, allow_unused=True)
        return tuple(None if each is None else (each != 0).to(each.dtype) for each in found)

    def _divide(self, parameters: Sequence[torch.nn.Parameter], used: list[Gradients]) -> None:
        """Divide every gradient by the weight of the sub-nets behind it; 0 where there is none."""
        for parameter, parts in zip(parameters, zip(*used, strict=True), strict=True):
            present = [part for part in parts if part is not None]
            if parameter.grad is None or not present:
                continue
            total = torch.stack(present).sum(0)
            total = total.sqrt() if self.aggregation == "avg_sqrt" else total
            parameter.grad = torch.where(total > 0.0, parameter.grad / total, 0.0)


def _weighted(gradients: Gradients, weight: float) -> Gradients:
    if weight == 1.0:
        return gradients
    return tuple(None if each is None else each * weight for each in gradients)
