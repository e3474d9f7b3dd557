"""Estimators made ready for a search: trained where they need it."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas.estimators import Errors, Estimator, load_estimator
from hwnas.pipeline.requests import SearchRequest
from hwnas.progress import Progress
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import Provenance
from hwnas.spaces import Architecture, Population, SearchSpace

__all__ = ["TrainedEstimator", "make_estimator"]


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
    """

    estimator: Estimator
    ranking: Callable[[Population], Errors]
    provenance: Provenance
    validation_images: int | None = None
    test: Callable[[Architecture], tuple[float, int]] | None = None


def make_estimator(
    request: SearchRequest,
    space: SearchSpace,
    run: RunDirectory,
    rng: np.random.Generator,
    *,
    resume: bool,
    progress: Progress,
) -> TrainedEstimator:
    """The estimator that a request names; a supernet is trained into the run directory first."""
    if request.estimator != "supernet":
        make: Callable[[SearchSpace], Estimator] = load_estimator(request.estimator)
        estimator = make(space)
        return TrainedEstimator(estimator, estimator.error, "modelled")
    return _supernet(request, space, run, rng, resume=resume, progress=progress)


def _supernet(
    request: SearchRequest,
    space: SearchSpace,
    run: RunDirectory,
    rng: np.random.Generator,
    *,
    resume: bool,
    progress: Progress,
) -> TrainedEstimator:
    import torch

    from hwnas.estimators.supernet_estimator import SupernetEstimator
    from hwnas.supernet.datasets import load_dataset
    from hwnas.supernet.threads import side_by_side
    from hwnas.supernet.training import Metrics, Recipe, train_supernet

    dataset = load_dataset(request.data)
    recipe = Recipe() if request.epochs is None else Recipe(epochs=request.epochs)

    def on_epoch(done: int, epochs: int, _: Metrics) -> None:
        progress(f"training the supernet, epoch {done} of {epochs}", done / epochs)

    progress("training the supernet", 0.0)
    trained = train_supernet(
        space,
        dataset,
        recipe,
        rng=rng,
        checkpoint=run.supernet_path,
        resume=resume,
        progress=on_epoch,
    )
    _write_log(run, trained.rows)
    supernet = trained.supernet

    def test(architecture: Architecture) -> tuple[float, int]:
        with side_by_side():
            statistics = supernet.calibrate(architecture, torch.from_numpy(dataset.x_train))
            logits = supernet.logits(architecture, torch.from_numpy(dataset.x_test), statistics)
        wrong = logits.argmax(1).numpy() != dataset.y_test
        return float(wrong.mean()), len(wrong)

    estimator = SupernetEstimator(supernet, dataset)
    return TrainedEstimator(estimator, estimator.ranking, "measured", len(dataset.y_val), test)


def _write_log(run: RunDirectory, rows: tuple[dict[str, float], ...]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", *rows[0]] if rows else ["epoch"], lineterminator="\n")
    writer.writeheader()
    for epoch, row in enumerate(rows, 1):
        writer.writerow({"epoch": epoch, **row})
    run.write_file("training.csv", lambda file: file.write(text.getvalue().encode()))
