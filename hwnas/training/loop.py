"""One pass over the training split: batches, augmentation, precision, clipping, steps.

The same loop trains supernets by any recipe and single networks.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.datasets.augmentation import augmented
from hwnas.datasets.dataset import Dataset
from hwnas.errors import DataError, HwnasError
from hwnas.training.options import TrainingOptions, learning_rate_at
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["DivergenceError", "TrainingLoop", "make_optimiser", "set_learning_rate"]

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DivergenceError(HwnasError, RuntimeError):
    """Training went to values that are not finite."""


class TrainingLoop:
    """Epochs over a training split.

    Args:
        dataset: Its training split is used.
        options: How.
        generator: Source of chance for the augmentation.
        device: Where torch computes.

    Raises:
        DataError: A batch is larger than the training split, or the precision is not for this
            device.
    """

    def __init__(
        self,
        dataset: Dataset,
        options: TrainingOptions,
        generator: torch.Generator,
        device: str = "cpu",
    ) -> None:
        if options.batch_size > len(dataset.x_train):
            raise DataError(
                f"a batch of {options.batch_size} images is larger than the training split of "
                f"{dataset.name}, which has {len(dataset.x_train)}; give a smaller batch size"
            )
        if options.precision != "fp32" and not device.startswith("cuda"):
            raise DataError(
                f"precision {options.precision} is for CUDA; on {device} train in fp32"
            )
        self.options = options
        self._generator = generator
        self._device = device
        self._x = torch.from_numpy(dataset.x_train).to(device)
        self._y = torch.from_numpy(dataset.y_train).to(device)
        self.scaler = torch.amp.GradScaler(enabled=options.precision == "fp16")

    @property
    def scale(self) -> Callable[[Tensor], Tensor]:
        """Applied to a loss before its gradient is taken."""
        return self.scaler.scale if self.scaler.is_enabled() else _unscaled

    def batches(self, order: Tensor, epoch: int) -> Iterator[Batch]:
        """Augmented batches in the given order; an incomplete last one is left out.

        Args:
            order: `(k,)` positions in the training split.
            epoch: From 0.
        """
        order = order.to(self._device)
        size = self.options.batch_size
        parts = torch.split(order[: len(order) // size * size], size)
        for index, part in enumerate(parts):
            images, labels = self._x[part], self._y[part]
            if self.options.augmentation is not None:
                images, labels = augmented(
                    self.options.augmentation, images, labels, self._generator
                )
            progress = (epoch + index / len(parts)) / self.options.epochs
            yield Batch(images, labels, part, epoch, progress)

    def epoch(
        self,
        begin_step: Callable[[Batch], Callable[[Batch], Metrics]],
        optimiser: torch.optim.Optimizer,
        order: Tensor,
        epoch: int,
        kept: str = "",
        rate_at: Callable[[float], float] | None = None,
    ) -> Metrics:
        """Make one step a batch.

        Args:
            begin_step: Called once a batch; what it returns is called with every part of the
                batch and sets the gradients for it.
            optimiser: Makes the steps.
            order: `(k,)` positions in the training split.
            epoch: From 0.
            kept: What is left after a divergence, for its message.
            rate_at: Share of all steps to learning rate; by default that of the options.

        Returns:
            Means of the steps' metrics, each over the steps that report it, the last learning
            rate and the seconds.

        Raises:
            DivergenceError: A metric or the gradient is not finite.
        """
        begin = time.perf_counter()
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        total: Metrics = {}
        reports: dict[str, int] = {}
        rate_at = rate_at or partial(learning_rate_at, self.options)
        rate, steps = 0.0, 0
        for steps, batch in enumerate(self.batches(order, epoch), 1):
            rate = rate_at(batch.progress)
            set_learning_rate(optimiser, rate)
            metrics = self._gradients(begin_step(batch), batch, parameters)
            self.scaler.unscale_(optimiser)
            norm = float(nn.utils.clip_grad_norm_(parameters, self.options.gradient_clip))
            skipped = self.scaler.is_enabled() and not math.isfinite(norm)
            if not skipped and not all(map(math.isfinite, (norm, *metrics.values()))):
                raise DivergenceError(
                    f"training diverged in epoch {epoch + 1}, step {steps}: {metrics}, gradient "
                    f"norm {norm}; lower the learning rate of {self.options.learning_rate:g}{kept}"
                )
            if self.options.gradient_clip_value is not None:
                nn.utils.clip_grad_value_(parameters, self.options.gradient_clip_value)
            self.scaler.step(optimiser)
            self.scaler.update()
            for name, value in metrics.items():
                total[name] = total.get(name, 0.0) + value
                reports[name] = reports.get(name, 0) + 1
        means = {name: value / reports[name] for name, value in total.items()}
        seconds = time.perf_counter() - begin
        return {"epoch": epoch + 1.0, **means, "learning_rate": rate, "seconds": seconds}

    def _gradients(
        self, step: Callable[[Batch], Metrics], batch: Batch, parameters: list[nn.Parameter]
    ) -> Metrics:
        """Gradients of the mean over the parts of a batch; each part is normalised by itself."""
        for parameter in parameters:
            parameter.grad = None
        with self._autocast():
            if self.options.accumulate == 1:
                return step(batch)
            sums: dict[int, Tensor] = {}
            metrics: Metrics = {}
            for part in np.array_split(np.arange(len(batch.labels)), self.options.accumulate):
                share = len(part) / len(batch.labels)
                cut = slice(int(part[0]), int(part[-1]) + 1)
                images, labels = batch.images[cut], batch.labels[cut]
                found = step(
                    replace(batch, images=images, labels=labels, indices=batch.indices[cut])
                )
                for index, parameter in enumerate(parameters):
                    if parameter.grad is not None:
                        add = parameter.grad * share
                        sums[index] = sums[index] + add if index in sums else add
                for name, value in found.items():
                    metrics[name] = metrics.get(name, 0.0) + value * share
        for index, parameter in enumerate(parameters):
            parameter.grad = sums.get(index)
        return metrics

    def _autocast(self) -> AbstractContextManager[object]:
        if self.options.precision == "fp32":
            return nullcontext()
        return torch.autocast("cuda", dtype=_HALF[self.options.precision])


def make_optimiser(
    parameters: list[nn.Parameter], options: TrainingOptions
) -> torch.optim.Optimizer:
    """Gradient descent that decays kernels and matrices alone.

    Args:
        parameters: What is trained.
        options: Learning rate, momentum, weight decay.
    """
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": options.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def _unscaled(loss: Tensor) -> Tensor:
    return loss
