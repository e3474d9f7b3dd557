"""Estimators made ready for a search: trained where they need it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from hwnas.datasets.dataset import Dataset, load_dataset_for
from hwnas.datasets.task import get_task
from hwnas.errors import PluginError
from hwnas.estimators import Errors, Estimator, load_estimator
from hwnas.estimators.supernet_estimator import SupernetEstimator
from hwnas.estimators.tabulated import TabulatedEstimator
from hwnas.estimators.trained_alone import TrainedAloneEstimator
from hwnas.estimators.zero_cost import DEFAULT_PROXIES, ZeroCostEstimator
from hwnas.pipeline.requests import SearchRequest, TrainRequest
from hwnas.pipeline.training import take_supernet, train, train_into, training_options
from hwnas.progress import Progress, silent
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import Provenance
from hwnas.spaces import Architecture, Population, SearchSpace
from hwnas.supernet.supernet import Supernet
from hwnas.supernet.threads import side_by_side
from hwnas.training.checkpoint import load_supernet
from hwnas.training.options import TrainingOptions
from hwnas.training.recipes import load_recipe
from hwnas.training.supernet_training import check_data

__all__ = ["TrainedEstimator", "estimator_of", "make_estimator", "supernet_estimator"]

Score = Literal["accuracy", "IoU", "rank"]

_CACHE = "trained.csv"  # in the run directory: what the estimator `trained` knows


@dataclass(frozen=True)
class TrainedEstimator:
    """An estimator with what only it can tell.

    Args:
        estimator: Architecture to error.
        ranking: What the search minimises: the error, or the error with ties put in order.
        provenance: Where its errors come from.
        validation_images: Images behind an error; None where there are none.
        test: Architecture to test error and number of test images; called for the chosen network
            alone. None where there are no images.
        score: What one minus the error is called; a rank is that among untrained random networks.
    """

    estimator: Estimator
    ranking: Callable[[Population], Errors]
    provenance: Provenance
    validation_images: int | None = None
    test: Callable[[Architecture], tuple[float, int]] | None = None
    score: Score = "accuracy"


def make_estimator(
    request: SearchRequest,
    space: SearchSpace,
    run: RunDirectory,
    rng: np.random.Generator,
    *,
    resume: bool,
    progress: Progress,
) -> TrainedEstimator:
    """The estimator that a request names.

    A supernet is trained into the run directory first, or taken from the run that the request
    names.
    """
    if request.estimator != "supernet":
        return _without_supernet(
            space,
            request.estimator,
            request.data,
            cache=run.path / _CACHE,
            table=request.error_table,
            interpolate=request.interpolate,
            proxies=request.proxies,
            training=request.training,
            device=request.device,
            seed=run.record.seed,
            progress=progress,
        )
    dataset = load_dataset_for(space, request.data)
    if request.supernet is not None:
        check_data(space, dataset)
        take_supernet(request.supernet, space, run)
        supernet = load_supernet(run.supernet_path, space).to(request.device)
        return supernet_estimator(supernet, dataset)
    options = training_options(load_recipe(request.recipe).defaults, request.training, dataset)
    trained = train_into(
        run,
        space,
        dataset,
        request.recipe,
        options,
        rng=rng,
        device=request.device,
        resume=resume,
        progress=progress,
    )
    return supernet_estimator(trained.supernet, dataset)


def estimator_of(
    space: SearchSpace,
    data: str,
    name: str,
    folder: Path,
    *,
    table: Path | None = None,
    interpolate: bool = False,
    supernet: Path | None = None,
    recipe: str = "sandwich",
    training: Mapping[str, Any] | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Progress = silent,
) -> TrainedEstimator:
    """An estimator for one of several spaces of a search, each with its own data.

    Args:
        space: The space.
        data: Its data set, as `--data` takes it.
        name: Of the estimator.
        folder: Where `supernet` trains and `trained` keeps its errors; what is there is gone on
            with.
        table: Error table that `tabulated` reads.
        interpolate: Whether `tabulated` interpolates where the table has no row.
        supernet: Run directory of a trained supernet; None to train one.
        recipe: How a supernet is trained.
        training: Options of training that are not the method's own, by name.
        device: Where torch computes.
        seed: Of all random draws.
        progress: Called with a line of text and the share done.

    Raises:
        HwnasError: Anything that can be wrong with the arguments, the data or the machine.
    """
    given = dict(training or {})
    folder.mkdir(parents=True, exist_ok=True)
    if name != "supernet":
        return _without_supernet(
            space,
            name,
            data,
            cache=folder / _CACHE,
            table=table,
            interpolate=interpolate,
            training=given,
            device=device,
            seed=seed,
            progress=progress,
        )
    dataset = load_dataset_for(space, data)
    check_data(space, dataset)
    if supernet is None:
        request = TrainRequest(space.name, data, recipe, given, device, seed)
        own = folder / "supernet"
        supernet = train(request, own, resume=own.exists(), progress=progress).path
    path = RunDirectory.open(supernet).supernet_path
    return supernet_estimator(load_supernet(path, space).to(device), dataset)


def supernet_estimator(supernet: Supernet, dataset: Dataset) -> TrainedEstimator:
    """Errors of sub-nets of a trained supernet, and the test error of one of them."""
    device, task = next(supernet.parameters()).device, get_task(dataset.task)

    def test(architecture: Architecture) -> tuple[float, int]:
        with side_by_side(device.type):
            images, shown = (
                torch.from_numpy(part).to(device) for part in (dataset.x_train, dataset.x_test)
            )
            statistics = supernet.calibrate(architecture, images)
            logits = supernet.logits(architecture, shown, statistics)
        error = task.error(logits, torch.from_numpy(dataset.y_test).to(device))
        return error, len(dataset.y_test)

    estimator = SupernetEstimator(supernet, dataset)
    return TrainedEstimator(
        estimator,
        estimator.ranking,
        "measured",
        len(dataset.y_val),
        test,
        cast("Score", task.score),
    )


def _without_supernet(
    space: SearchSpace,
    name: str,
    data: str,
    *,
    cache: Path,
    table: Path | None,
    interpolate: bool,
    proxies: Sequence[str] = (),
    training: Mapping[str, Any],
    device: str,
    seed: int,
    progress: Progress,
) -> TrainedEstimator:
    if name == "tabulated":
        if table is None:
            raise PluginError("estimator tabulated reads a table of errors: give --error-table")
        tabulated = TabulatedEstimator(space, table, interpolate=interpolate)
        score: Score = "IoU" if "IoU" in tabulated.notes.get("error", "") else "accuracy"
        return TrainedEstimator(tabulated, tabulated.error, tabulated.provenance, score=score)
    if name == "trained":
        dataset = load_dataset_for(space, data)
        options = training_options(TrainingOptions(), training, dataset)
        trained = TrainedAloneEstimator(
            space, dataset, options, seed=seed, cache=cache, device=device, progress=progress
        )
        return TrainedEstimator(
            trained,
            trained.error,
            "measured",
            len(dataset.y_val),
            lambda architecture: (trained.test_error(architecture), len(dataset.y_test)),
            cast("Score", get_task(dataset.task).score),
        )
    if name == "zero-cost":
        zero_cost = ZeroCostEstimator(
            space, proxies or DEFAULT_PROXIES, seed=seed, device=device, progress=progress
        )
        return TrainedEstimator(zero_cost, zero_cost.error, "modelled", score="rank")
    made = cast("Callable[[SearchSpace], Estimator]", load_estimator(name))
    estimator = made(space)
    return TrainedEstimator(estimator, estimator.error, "modelled")
