"""Estimators: architecture to error.

`ESTIMATORS` names where each class is; nothing heavy is imported before `load_estimator`.
"""

from typing import Any

from hwnas.estimators.estimator import Errors, Estimator
from hwnas.plugins import available_classes, load_class

__all__ = ["ESTIMATORS", "Errors", "Estimator", "available_estimators", "load_estimator"]

ENTRY_POINTS = "hwnas.estimators"

#: Name on the command line -> module and class.
ESTIMATORS: dict[str, tuple[str, str]] = {
    "supernet": ("hwnas.estimators.supernet_estimator", "SupernetEstimator"),
    "synthetic": ("hwnas.estimators.synthetic", "SyntheticEstimator"),
    "tabulated": ("hwnas.estimators.tabulated", "TabulatedEstimator"),
    "trained": ("hwnas.estimators.trained_alone", "TrainedAloneEstimator"),
    "zero-cost": ("hwnas.estimators.zero_cost.estimator", "ZeroCostEstimator"),
}


def available_estimators() -> tuple[str, ...]:
    """Names of all estimators, those of plug-ins included, sorted."""
    return available_classes(ESTIMATORS, ENTRY_POINTS)


def load_estimator(name: str) -> type[Estimator]:
    """The class of that name; what its constructor takes is its own affair.

    Raises:
        PluginError: There is no such estimator, or a plug-in's cannot be loaded.
    """
    found: type[Any] = load_class("estimator", ESTIMATORS, ENTRY_POINTS, name)
    return found
