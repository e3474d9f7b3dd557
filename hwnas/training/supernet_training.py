"""Training of a supernet by a recipe: resumable, checkpointed after every epoch."""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hwnas.datasets.dataset import Dataset
from hwnas.errors import DataError
from hwnas.graph import shape_of
from hwnas.spaces import SearchSpace
from hwnas.supernet.supernet import Supernet
from hwnas.supernet.threads import side_by_side
from hwnas.training.checkpoint import load_checkpoint, save_checkpoint
from hwnas.training.loop import TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch, Recipe, TrainingContext
from hwnas.training.recipes import load_recipe

__all__ = [
    "Progress",
    "TrainedSupernet",
    "check_data",
    "check_task",
    "train_supernet",
    "training_identity",
]

log = logging.getLogger(__name__)

Progress = Callable[[int, int, Metrics], None]
"""Called as `progress(epoch, epochs, metrics)` after every epoch, epochs counted from 1."""

DEFAULT_RECIPE = "sandwich"


@dataclass(frozen=True, eq=False)
class TrainedSupernet:
    """A trained supernet and its log.

    Args:
        supernet: The network.
        rows: Metrics of every epoch, those before a resume included.
        seconds: Wall time of this call.
    """

    supernet: Supernet
    rows: tuple[Metrics, ...]
    seconds: float


def train_supernet(
    space: SearchSpace,
    dataset: Dataset,
    recipe: str | type[Recipe] = DEFAULT_RECIPE,
    options: TrainingOptions | None = None,
    *,
    rng: np.random.Generator,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    device: str = "cpu",
) -> TrainedSupernet:
    """Train a supernet.

    Args:
        space: The space.
        dataset: The data; test images are not looked at.
        recipe: Name of the recipe, or its class.
        options: By default those that the recipe recommends.
        rng: The only source of chance; on resume its state is replaced by the saved one.
        checkpoint: File that is replaced after every epoch.
        resume: Go on from `checkpoint` if it is there; the result is that of an unbroken run.
        progress: Called after every epoch.
        device: Where torch trains.

    Raises:
        DataError: The images do not fit the space's networks, the recipe is not for their task, or
            a batch is larger than the data.
        DivergenceError: The loss is not finite; the checkpoint of the epoch before is kept.
        PluginError: There is no such recipe.
        RunError: The checkpoint is corrupt, or of another space, data set or recipe.
        SpaceError: The recipe is not for this space.
    """
    made = load_recipe(recipe) if isinstance(recipe, str) else recipe
    check_task(f"recipe {made.name}", made.tasks, dataset)
    options = options or made.defaults
    begin = time.perf_counter()
    check_data(space, dataset)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    loop = TrainingLoop(dataset, options, generator, device)
    identity = training_identity(space, dataset, made.name, options)
    rows: list[Metrics] = []
    with side_by_side(device) as executor:
        context = TrainingContext(
            space, dataset, options, rng, generator, device, executor, loop.scale
        )
        method = made(context)
        optimiser = make_optimiser(list(method.supernet.parameters()), options)
        if resume and checkpoint is not None and checkpoint.exists():
            found = load_checkpoint(checkpoint, identity)
            method.restore(found.part("recipe"))
            optimiser = make_optimiser(list(method.supernet.parameters()), options)
            found.load_into(
                supernet=method.supernet,
                optimiser=optimiser,
                scaler=loop.scaler,
                generator=generator,
                rng=rng,
            )
            rows = found.rows

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            return partial(method.step, method.draw(batch))

        for epoch in range(len(rows), options.epochs):
            if method.begin_epoch(epoch):
                optimiser = make_optimiser(list(method.supernet.parameters()), options)
            kept = f"; {checkpoint} holds the epoch before" if checkpoint and rows else ""
            order = method.order(epoch)
            metrics = loop.epoch(
                begin_step, optimiser, order, epoch, kept, rate_at=method.learning_rate
            )
            method.end_epoch(epoch)
            rows.append(metrics)
            if checkpoint is not None:
                save_checkpoint(
                    checkpoint,
                    identity,
                    method.supernet,
                    rows,
                    recipe=method.state(),
                    optimiser=optimiser,
                    scaler=loop.scaler.state_dict(),
                    generator=generator,
                    rng=rng,
                )
            if progress is not None:
                progress(epoch + 1, options.epochs, metrics)
    method.supernet.eval()
    seconds = time.perf_counter() - begin
    log.info("trained %s by %s for %d epochs in %.1f s", space.name, made.name, len(rows), seconds)
    return TrainedSupernet(method.supernet, tuple(rows), seconds)


def check_task(who: str, tasks: Collection[str], dataset: Dataset) -> None:
    """Check that a method trains what the data are for.

    Args:
        who: The method, for the message.
        tasks: Names of the tasks that it can be used for.
        dataset: The data.

    Raises:
        DataError: It does not.
    """
    if dataset.task not in tasks:
        raise DataError(
            f"{who} is for {' and '.join(tasks)}, {dataset.name} is data for {dataset.task}; take "
            f"a method for it, such as strategy nsga2 with recipe {DEFAULT_RECIPE}"
        )


def check_data(space: SearchSpace, dataset: Dataset) -> None:
    """Check that images and labels fit the networks of a space.

    Raises:
        DataError: They do not.
    """
    network = space.network(space.largest())
    dataset.check_network(shape_of(network.inputs[0]), shape_of(network.outputs[0]))


def training_identity(
    space: SearchSpace, dataset: Dataset, recipe: str, options: TrainingOptions
) -> dict[str, str]:
    """What a checkpoint is of: a run goes on only from one of the same."""
    return {
        "space": space.name,
        "dataset": dataset.name,
        "recipe": recipe,
        "options": repr(options),
    }
