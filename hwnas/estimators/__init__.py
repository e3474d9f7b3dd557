"""Estimators: architecture to error.

`ESTIMATORS` names where each class is; nothing heavy is imported before `load_estimator`.
"""

from importlib import import_module

from hwnas.errors import PluginError
from hwnas.estimators.estimator import Errors, Estimator
from hwnas.plugins import load_plugin, plugins

__all__ = ["ESTIMATORS", "Errors", "Estimator", "available_estimators", "load_estimator"]

ENTRY_POINTS = "hwnas.estimators"

#: Name on the command line -> module and class.
ESTIMATORS: dict[str, tuple[str, str]] = {
    "supernet": ("hwnas.estimators.supernet_estimator", "SupernetEstimator"),
    "synthetic": ("hwnas.estimators.synthetic", "SyntheticEstimator"),
}


def available_estimators() -> tuple[str, ...]:
    """Names of all estimators, those of plug-ins included, sorted."""
    return tuple(sorted({*ESTIMATORS, *plugins(ENTRY_POINTS)}))


def load_estimator(name: str) -> type[Estimator]:
    """The class of that name; what its constructor takes is its own affair.

    Raises:
        PluginError: There is no such estimator, or a plug-in's cannot be loaded.
    """
    if name in ESTIMATORS:
        module, attribute = ESTIMATORS[name]
        found = getattr(import_module(module), attribute)
    elif name in plugins(ENTRY_POINTS):
        found = load_plugin(ENTRY_POINTS, name)
    else:
        known = ", ".join(available_estimators())
        raise PluginError(f"unknown estimator {name!r}; available: {known}")
    if not isinstance(found, type):
        raise PluginError(f"estimator {name!r} is a {type(found).__name__}, not a class")
    return found
