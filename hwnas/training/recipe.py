"""The contract of recipes: which sub-nets are trained on a batch, and by what loss.

A recipe owns the supernet and the decisions of its method; `hwnas.training.supernet_training` owns
the loop: batches, augmentation, learning rate, precision, clipping, checkpoints. A recipe is made
once for a run. In every step the loop calls `draw`, then `step`, which sets the gradients of the
supernet's parameters, and makes one step of the optimiser.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hwnas.datasets.dataset import Dataset
from hwnas.datasets.task import get_task
from hwnas.spaces import Architecture, SearchSpace
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.supernet import Supernet
from hwnas.training.options import TrainingOptions, learning_rate_at
from hwnas.training.path_gradients import Metrics, path_gradients, set_gradients

__all__ = ["Batch", "Recipe", "TrainingContext"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one step.

    Args:
        images: `(n, c, h, w)`, augmented.
        labels: `(n,)`, or masks.
        indices: `(n,)` positions in the training split.
        epoch: From 0.
        progress: Share of all steps that were made, from 0 to 1.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    epoch: int
    progress: float


@dataclass(eq=False)
class TrainingContext:
    """What a recipe works with.

    Args:
        space: The space.
        dataset: The data; recipes look at the training split, and at the validation split only
            where their method says so.
        options: Of the training.
        rng: Source of chance in NumPy: for sampling sub-nets.
        generator: Source of chance in torch: for weights and images.
        device: Where torch computes.
        executor: Runs sub-nets side by side; None for one after another.
        scale: Applied to every loss before its gradient is taken (for `fp16`).
    """

    space: SearchSpace
    dataset: Dataset
    options: TrainingOptions
    rng: np.random.Generator
    generator: torch.Generator
    device: str = "cpu"
    executor: Executor | None = None
    scale: Callable[[Tensor], Tensor] = lambda loss: loss


class Recipe:
    """One way to train a supernet: by default a uniform random path a step.

    Args:
        context: What it works with. `supernet` is made by `make_supernet`.
    """

    name: ClassVar[str]
    """On the command line."""
    defaults: ClassVar[TrainingOptions] = TrainingOptions()
    """Options that fit the method."""
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    """Names of the tasks that its losses are for."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context
        self.space = context.space
        self.options = context.options
        self.task = get_task(context.dataset.task)
        self.supernet: Supernet = self.make_supernet().to(context.device)

    def make_supernet(self) -> Supernet:
        """The supernet before training."""
        return ElasticSupernet(
            self.space,
            self.context.generator,
            zero_residual_scale=self.options.zero_residual_scale,
        )

    def begin_epoch(self, epoch: int) -> bool:
        """Called before the first batch of an epoch; a resumed run is not asked for old ones.

        Returns:
            Whether the supernet has other parameters than before (it was split, or replaced); the
            loop then makes a new optimiser.
        """
        del epoch
        return False

    def learning_rate(self, progress: float) -> float:
        """Learning rate after a share of all steps, from 0 to 1."""
        return learning_rate_at(self.options, progress)

    def order(self, epoch: int) -> Tensor:
        """Positions in the training split in the order of the epoch, `(k,)`; repeats may occur."""
        del epoch
        return torch.randperm(len(self.context.dataset.x_train), generator=self.context.generator)

    def draw(self, batch: Batch) -> list[Architecture]:
        """Sub-nets of one step, the teacher first."""
        del batch
        return [self.space.architecture(self.space.sample(1, self.context.rng)[0])]

    def objective(
        self, index: int, logits: Tensor, teacher: Tensor | None, batch: Batch
    ) -> Tensor:
        """Loss of one sub-net of a step: by default the task's, with the labels.

        Args:
            index: Its place in what `draw` returned.
            logits: `(n, classes)`, or maps of them.
            teacher: Logits of the first sub-net, detached; None for that one itself.
            batch: The batch.
        """
        del index, teacher
        return self.task.loss(logits, batch.labels, self.options.label_smoothing)

    def step(self, paths: list[Architecture], batch: Batch) -> Metrics:
        """Set the gradients of all parameters of the supernet for one (part of a) batch.

        Args:
            paths: From `draw`.
            batch: The batch.

        Returns:
            `loss` of the first sub-net, and the mean `loss_others` of the others if there are any.
        """
        gradients, losses = path_gradients(
            self.supernet,
            paths,
            batch.images,
            lambda index, logits, teacher: self.objective(index, logits, teacher, batch),
            executor=self.context.executor,
            scale=self.context.scale,
        )
        set_gradients(list(self.supernet.parameters()), gradients)
        metrics = {"loss": losses[0]}
        if len(losses) > 1:
            metrics["loss_others"] = sum(losses[1:]) / (len(losses) - 1)
        return metrics

    def end_epoch(self, epoch: int) -> None:
        """Called after the last step of an epoch, before the checkpoint is written."""

    def state(self) -> dict[str, Any]:
        """What the rest of the run depends on beside weights, optimiser and sources of chance.

        Tensors, numbers, strings, lists and dicts of them; nothing else can be loaded again.
        """
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back, before weights are loaded: sets up `supernet` where it was changed.

        Raises:
            RunError: The state is of another form.
        """
