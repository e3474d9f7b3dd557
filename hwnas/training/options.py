"""How long, how fast and on what a network is trained; the same for all recipes."""

import math
from dataclasses import dataclass, field
from typing import Literal

from hwnas.datasets.augmentation import AnyAugmentation, Augmentation
from hwnas.errors import SpaceError

__all__ = ["Precision", "Schedule", "TrainingOptions", "learning_rate_at"]

Schedule = Literal["cosine", "linear", "exponential", "constant"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainingOptions:
    """Options of stochastic gradient descent with Nesterov's momentum.

    The defaults were chosen on the validation split of `digits` with `mbconv-digits`, 3 seeds.

    Args:
        epochs: Passes over the training split.
        batch_size: Images a step.
        learning_rate: Peak of the schedule.
        momentum: Of Nesterov's gradient descent.
        weight_decay: On kernels and matrices; never on normalisations and biases.
        schedule: How the learning rate falls after the warm-up.
        warmup_share: Share of all steps in which the learning rate rises linearly.
        final_share: Share of the peak at which the learning rate ends.
        label_smoothing: Mass that the target gives to all classes alike.
        gradient_clip: Largest norm of the whole gradient.
        gradient_clip_value: Largest absolute value of any entry of it; None for no limit.
        augmentation: Random changes of the images; None for none.
        accumulate: Parts that a batch is cut into, one after another, to save memory.
        precision: Of the forward and backward pass; weights stay in float32. `fp16` scales the
            loss. Other than `fp32` only on CUDA.
        zero_residual_scale: Whether residual branches start at zero.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Schedule = "cosine"
    warmup_share: float = 0.1
    final_share: float = 0.01
    label_smoothing: float = 0.1
    gradient_clip: float = 5.0
    gradient_clip_value: float | None = None
    augmentation: AnyAugmentation | None = field(default_factory=Augmentation)
    accumulate: int = 1
    precision: Precision = "fp32"
    zero_residual_scale: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise SpaceError(
                f"training for {self.epochs} epochs in batches of {self.batch_size} is not "
                "possible; give at least 1 epoch and batches of at least 2"
            )
        if not 1 <= self.accumulate <= self.batch_size // 2:
            raise SpaceError(
                f"a batch of {self.batch_size} cannot be cut into {self.accumulate} parts of at "
                "least 2 images"
            )


def learning_rate_at(options: TrainingOptions, progress: float) -> float:
    """Learning rate after a share of all steps: a linear rise, then the schedule's way down.

    The exponential one falls to `final_share` at half of the way and stays there, BigNAS's
    constant ending: large sub-nets have settled by then, small ones still learn.

    Args:
        options: Peak, shares and schedule.
        progress: Share of all steps that were made; past 1 the rate stays.
    """
    if progress < options.warmup_share:
        return options.learning_rate * max(progress / options.warmup_share, 0.01)
    phase = min(1.0, (progress - options.warmup_share) / (1.0 - options.warmup_share))
    last = options.final_share
    fallen = {
        "cosine": last + (1.0 - last) * (1.0 + math.cos(math.pi * phase)) / 2.0,
        "linear": last + (1.0 - last) * (1.0 - phase),
        "exponential": max(last, last ** (2.0 * phase)) if last > 0.0 else 0.0,
        "constant": 1.0,
    }
    return options.learning_rate * fallen[options.schedule]
