"""A search by a gradient-based strategy: training and searching are one."""

import numpy as np

from hwnas.costs import CompiledCosts
from hwnas.datasets.dataset import load_dataset_for
from hwnas.pipeline.estimating import TrainedEstimator, supernet_estimator
from hwnas.pipeline.requests import SearchRequest
from hwnas.pipeline.training import logged_epochs, training_options
from hwnas.progress import Progress
from hwnas.search import Budgets
from hwnas.search.gradient.gradient_search import GradientResult, gradient_search
from hwnas.search.gradient.registry import load_gradient_strategy
from hwnas.search.run_directory import RunDirectory

__all__ = ["search_by_gradient"]


def search_by_gradient(
    request: SearchRequest,
    run: RunDirectory,
    costs: CompiledCosts,
    budgets: Budgets,
    rng: np.random.Generator,
    *,
    resume: bool,
    progress: Progress,
) -> tuple[GradientResult, TrainedEstimator]:
    """Train a gradient-based strategy into the run directory.

    Returns:
        What it found, and an estimator on its supernet.
    """
    dataset = load_dataset_for(costs.space, request.data)
    strategy = load_gradient_strategy(request.strategy)
    options = training_options(strategy.defaults, request.training, dataset)
    what = f"searching by {request.strategy}"
    with logged_epochs(run, what, resume=resume, progress=progress) as logged:
        found = gradient_search(
            dataset,
            costs,
            budgets,
            strategy,
            options,
            hardware_loss=request.hardware_loss,
            cost_weight=request.cost_weight,
            rng=rng,
            checkpoint=run.supernet_path,
            resume=resume,
            progress=logged,
            device=request.device,
        )
    return found, supernet_estimator(found.supernet, dataset)
