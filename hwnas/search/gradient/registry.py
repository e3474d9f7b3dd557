"""Gradient-based strategies by name; nothing heavy is imported before one is loaded.

Plug-ins add theirs through the entry point group `hwnas.gradient_strategies`.
"""

from typing import TYPE_CHECKING

from hwnas.errors import PluginError
from hwnas.plugins import available_classes, load_class

if TYPE_CHECKING:
    from hwnas.search.gradient.strategy import GradientStrategy

__all__ = [
    "GRADIENT_STRATEGIES",
    "available_gradient_strategies",
    "load_gradient_strategy",
]

ENTRY_POINTS = "hwnas.gradient_strategies"

_HERE = "hwnas.search.gradient"

#: Name on the command line -> module and class.
GRADIENT_STRATEGIES: dict[str, tuple[str, str]] = {
    "darts": (f"{_HERE}.darts", "Darts"),
    "darts-2nd": (f"{_HERE}.darts", "SecondOrderDarts"),
    "darts-pt": (f"{_HERE}.darts_pt", "DartsPt"),
    "drop-nas": (f"{_HERE}.drop_nas", "DropNas"),
    "gold-nas": (f"{_HERE}.gold_nas", "GoldNas"),
    "proxyless": (f"{_HERE}.proxyless", "Proxyless"),
    "proxyless-rl": (f"{_HERE}.proxyless_rl", "ProxylessRl"),
    "rome": (f"{_HERE}.rome", "Rome"),
    "single-path": (f"{_HERE}.single_path", "SinglePath"),
    "tangle-nas": (f"{_HERE}.tangle_nas", "TangleNas"),
}


def available_gradient_strategies() -> tuple[str, ...]:
    """Names of all of them, those of plug-ins included, sorted."""
    return available_classes(GRADIENT_STRATEGIES, ENTRY_POINTS)


def load_gradient_strategy(name: str) -> "type[GradientStrategy]":
    """The class of that name.

    Raises:
        PluginError: There is no such strategy, or a plug-in's cannot be loaded.
    """
    from hwnas.search.gradient.strategy import GradientStrategy

    found = load_class("gradient-based strategy", GRADIENT_STRATEGIES, ENTRY_POINTS, name)
    if not issubclass(found, GradientStrategy):
        raise PluginError(f"strategy {name!r} is {found!r}, not a subclass of GradientStrategy")
    return found
