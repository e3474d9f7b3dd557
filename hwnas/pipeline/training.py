"""Training of a supernet into a run directory: once, for any later budget and target."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.datasets.augmentation import augmentation_for
from hwnas.datasets.dataset import Dataset, load_dataset_for
from hwnas.errors import DataError, RunError, SpaceError
from hwnas.pipeline.requests import TrainRequest
from hwnas.progress import Progress, silent
from hwnas.search.run_directory import RunDirectory
from hwnas.spaces import SearchSpace, get_space
from hwnas.training.checkpoint import load_checkpoint
from hwnas.training.metrics_log import MetricsLog
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipes import load_recipe
from hwnas.training.supernet_training import TrainedSupernet, train_supernet

__all__ = [
    "check_device",
    "logged_epochs",
    "take_supernet",
    "train",
    "train_into",
    "training_options",
]


def train(
    request: TrainRequest,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    on_start: Callable[[RunDirectory], None] = lambda _: None,
) -> RunDirectory:
    """Train a supernet and write its run directory; kill it at any moment and resume it.

    Args:
        request: What is asked for.
        out: The run directory.
        resume: Whether to go on with a run that is there.
        progress: Called with a line of text and the share done.
        on_start: Called with the run directory as soon as it is there.

    Raises:
        HwnasError: Anything that can be wrong with the arguments, the data or the machine.
    """
    check_device(request.device)
    space = get_space(request.space)
    dataset = load_dataset_for(space, request.data)
    options = training_options(load_recipe(request.recipe).defaults, request.training, dataset)
    run = RunDirectory.create(
        out, request.arguments(), target=None, seed=request.seed, resume=resume
    )
    on_start(run)
    if run.record.state == "finished":
        return run
    trained = train_into(
        run,
        space,
        dataset,
        request.recipe,
        options,
        rng=np.random.default_rng(request.seed),
        device=request.device,
        resume=resume,
        progress=progress,
    )
    run.add_timing("train", round(trained.seconds, 3))
    run.finish()
    return run


def train_into(
    run: RunDirectory,
    space: SearchSpace,
    dataset: Dataset,
    recipe: str,
    options: TrainingOptions,
    *,
    rng: np.random.Generator,
    device: str,
    resume: bool,
    progress: Progress,
) -> TrainedSupernet:
    """Train a supernet with its checkpoint and log in a run directory."""
    with logged_epochs(run, "training the supernet", resume=resume, progress=progress) as logged:
        return train_supernet(
            space,
            dataset,
            recipe,
            options,
            rng=rng,
            checkpoint=run.supernet_path,
            resume=resume,
            progress=logged,
            device=device,
        )


@contextmanager
def logged_epochs(
    run: RunDirectory, what: str, *, resume: bool, progress: Progress
) -> Iterator[Callable[[int, int, Metrics], None]]:
    """What is called after every epoch: writes the log of the run and tells how far it is.

    Args:
        run: The run.
        what: Such as "training the supernet".
        resume: Whether epochs of an earlier call stand in the checkpoint.
        progress: Called with a line of text and the share done.
    """
    rows: list[Metrics] = []
    if resume and run.supernet_path.exists():
        rows = load_checkpoint(run.supernet_path, {}).rows
    progress(what, 0.0)
    with MetricsLog(run.path, rows=enumerate(rows, 1)) as log:

        def logged(done: int, epochs: int, metrics: Metrics) -> None:
            log.write(done, metrics)
            progress(f"{what}, epoch {done} of {epochs}", done / epochs)

        yield logged


def training_options(
    defaults: TrainingOptions, given: Mapping[str, Any], dataset: Dataset
) -> TrainingOptions:
    """The defaults of a recipe or strategy, with what the user and the data say in their place.

    Args:
        defaults: Of the recipe or strategy.
        given: By the names of `TrainingOptions`; an augmentation by its own name.
        dataset: Says how its images may be moved.

    Raises:
        SpaceError: A name is unknown, or a number is out of range.
    """
    rest = dict(given)
    augmentation = augmentation_for(rest.pop("augmentation", dataset.augmentation))
    try:
        return replace(defaults, augmentation=augmentation, **rest)
    except TypeError as error:
        raise SpaceError(f"unknown training option: {error}") from error


def take_supernet(source: Path, space: SearchSpace, run: RunDirectory) -> None:
    """Copy the trained supernet of another run, so that the run stands on its own.

    A resumed run keeps its copy, whatever became of the other run.

    Args:
        source: Run directory of `hwnas train` or of another search.
        space: The space that is to be searched.
        run: Where it goes.

    Raises:
        RunError: There is no trained supernet, or it is of another space.
    """
    if run.has(run.supernet_path.name):
        return
    trained = RunDirectory.open(source)
    if not trained.has(trained.supernet_path.name):
        raise RunError(f"{source} has no trained supernet: train one with `hwnas train`")
    load_checkpoint(trained.supernet_path, {"space": space.name})
    with trained.supernet_path.open("rb") as file:
        run.write_file(run.supernet_path.name, lambda copy: shutil.copyfileobj(file, copy))


def check_device(device: str) -> None:
    """Check that torch can compute there.

    Raises:
        DataError: It cannot.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DataError(
            f"device {device!r}: this torch ({torch.__version__}) sees no CUDA device; "
            "use --device cpu"
        )
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"device {device!r} cannot be used: {error}") from error
