"""Quantities with units, as users write them (`2ms`, `0.5J`, `4MiB`), to SI numbers and back.

A bare number is refused: seconds taken for milliseconds are the field's commonest budget error.
"""

import math
import re

from hwnas.errors import QuantityError

__all__ = [
    "METRIC_DIMENSIONS",
    "format_metric",
    "format_quantity",
    "parse_metric",
    "parse_quantity",
]

_UNITS: dict[str, dict[str, float]] = {
    "time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0},
    "energy": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12},
    "memory": {
        "B": 1.0,
        "kB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    "cycles": {"cycles": 1.0, "kcycles": 1e3, "Mcycles": 1e6},
    "area": {"mm2": 1.0, "um2": 1e-6, "µm2": 1e-6},
}
_PRINTED: dict[str, tuple[str, ...]] = {
    "time": ("s", "ms", "us", "ns"),
    "energy": ("J", "mJ", "uJ", "nJ"),
    "memory": ("GiB", "MiB", "KiB", "B"),
    "cycles": ("Mcycles", "kcycles", "cycles"),
    "area": ("mm2", "um2"),
}
_MICRO_SIGN, _GREEK_MU = "\u00b5", "\u03bc"  # look the same; keyboards have either
_PATTERN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*((?:[A-Za-zµ]+2?)?)\s*")

METRIC_DIMENSIONS = {
    "latency_s": "time",
    "latency_cycles": "cycles",
    "energy_j": "energy",
    "area_mm2": "area",
    "memory_bytes": "memory",
}
"""Metric name to the dimension of its unit."""


def parse_quantity(text: str, dimension: str) -> float:
    """Read a positive quantity and give it in SI units, cycles or square millimetres.

    Args:
        text: A number with a unit, such as `2ms`.
        dimension: `time` (s), `energy` (J), `memory` (bytes), `cycles` or `area` (mm2).

    Raises:
        QuantityError: The text has no number, no unit, or a unit of another dimension.
    """
    units = _UNITS[dimension]
    known = ", ".join(units)
    match = _PATTERN.fullmatch(text.replace(_GREEK_MU, _MICRO_SIGN))
    if match is None:
        raise QuantityError(
            f"cannot read {text!r} as {dimension}: write a number and a unit ({known})"
        )
    number, unit = match.groups()
    if not unit:
        example = f"{number}{_PRINTED[dimension][1]}"
        raise QuantityError(f"{text!r} has no unit: write for instance {example} (units: {known})")
    if unit not in units:
        raise QuantityError(
            f"{text!r} has unit {unit!r}, which is not one of {dimension}: {known}"
        )
    value = float(number) * units[unit]
    if not (math.isfinite(value) and value > 0.0):
        raise QuantityError(f"{text!r} is not a positive finite quantity")
    return value


def format_quantity(value: float, dimension: str) -> str:
    """Print an SI number with the unit that leaves one to three digits before the point."""
    if not math.isfinite(value):
        return str(value)
    names = _PRINTED[dimension]
    units = _UNITS[dimension]
    chosen = next((name for name in names if abs(value) >= units[name]), names[-1])
    return f"{value / units[chosen]:.4g} {chosen}"


def parse_metric(text: str, metric: str) -> float:
    """Read a quantity of a metric such as `latency_s`."""
    return parse_quantity(text, METRIC_DIMENSIONS[metric])


def format_metric(value: float, metric: str) -> str:
    """Print a value of a metric such as `latency_s`; metrics without a unit print as numbers."""
    dimension = METRIC_DIMENSIONS.get(metric)
    return f"{value:.4g}" if dimension is None else format_quantity(value, dimension)
