"""Estimators made ready for a search: trained where they need it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from hwnas.datasets.dataset import Dataset, load_dataset_for
from hwnas.estimators import Errors, Estimator, load_estimator
from hwnas.estimators.supernet_estimator import SupernetEstimator
from hwnas.pipeline.requests import SearchRequest
from hwnas.pipeline.training import take_supernet, train_into, training_options
from hwnas.progress import Progress
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import Provenance
from hwnas.spaces import Architecture, Population, SearchSpace
from hwnas.supernet.supernet import Supernet
from hwnas.supernet.threads import side_by_side
from hwnas.training.checkpoint import load_supernet
from hwnas.training.recipes import load_recipe
from hwnas.training.supernet_training import check_data

__all__ = ["TrainedEstimator", "make_estimator", "supernet_estimator"]


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
    """The estimator that a request names.

    A supernet is trained into the run directory first, or taken from the run that the request
    names.
    """
    if request.estimator != "supernet":
        make: Callable[[SearchSpace], Estimator] = load_estimator(request.estimator)
        estimator = make(space)
        return TrainedEstimator(estimator, estimator.error, "modelled")
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


def supernet_estimator(supernet: Supernet, dataset: Dataset) -> TrainedEstimator:
    """Errors of sub-nets of a trained supernet, and the test error of one of them."""
    device = next(supernet.parameters()).device

    def test(architecture: Architecture) -> tuple[float, int]:
        with side_by_side(device.type):
            images, shown = (
                torch.from_numpy(part).to(device) for part in (dataset.x_train, dataset.x_test)
            )
            statistics = supernet.calibrate(architecture, images)
            logits = supernet.logits(architecture, shown, statistics)
        wrong = logits.argmax(1).cpu().numpy() != dataset.y_test
        return float(wrong.mean()), len(wrong)

    estimator = SupernetEstimator(supernet, dataset)
    return TrainedEstimator(estimator, estimator.ranking, "measured", len(dataset.y_val), test)
