"""Estimators made ready for a search: trained where they need it."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.estimators import ESTIMATORS, Estimator
from hwnas.pipeline.progress import Progress
from hwnas.pipeline.requests import SearchRequest
from hwnas.search.run_directory import Provenance, RunDirectory
from hwnas.spaces import Architecture, SearchSpace

__all__ = ["TrainedEstimator", "make_estimator"]


@dataclass(frozen=True)
class TrainedEstimator:
    """An estimator with what only it can tell.

    Args:
        estimator: Architecture to error.
        provenance: Where its errors come from.
        validation_images: Images behind an error; None where there are none.
        test: Architecture to test error and number of test images; called for the chosen network
            alone. None where there are no images.
    """

    estimator: Estimator
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
        return TrainedEstimator(ESTIMATORS[request.estimator](space), "modelled")
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
    from hwnas.estimators.supernet_estimator import SupernetEstimator
    from hwnas.supernet.datasets import load_dataset
    from hwnas.supernet.training import Recipe, train_supernet

    dataset = load_dataset(request.data)
    recipe = Recipe() if request.epochs is None else Recipe(epochs=request.epochs)
    rows: list[dict[str, float]] = []

    def on_epoch(done: int, epochs: int, metrics: dict[str, float]) -> None:
        rows.append({"epoch": done, **metrics})
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
    estimator = SupernetEstimator(trained.supernet, dataset)
    return TrainedEstimator(
        estimator, "measured", len(dataset.y_val), estimator.test_error
    )


def _write_log(run: RunDirectory, rows: tuple[dict[str, Any], ...]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", *rows[0]] if rows else ["epoch"], lineterminator="\n")
    writer.writeheader()
    for epoch, row in enumerate(rows, 1):
        writer.writerow({"epoch": epoch, **row})
    run.write_file("training.csv", lambda file: file.write(text.getvalue().encode()))
