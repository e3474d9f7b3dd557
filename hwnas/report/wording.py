"""How names and numbers are written on the page."""

import math
from collections.abc import Mapping
from typing import Any

from hwnas.quantities import format_metric, format_quantity

__all__ = [
    "is_error",
    "metric_label",
    "percent",
    "plain",
    "predicted_origin",
    "quantity",
    "seconds",
    "signed_percent",
]

UNKNOWN = "not known"
_NO_BREAK = "\N{NO-BREAK SPACE}"  # keeps a number and its unit on one line
_ONE_ERROR = "error_"
_LABELS = {
    "error": "Error",
    "latency_s": "Latency",
    "latency_cycles": "Cycles",
    "energy_j": "Energy",
    "memory_bytes": "Peak memory",
    "area_mm2": "Area",
}


def metric_label(metric: str) -> str:
    """`latency_s` as `Latency`; a metric of a plug-in under its own name."""
    if metric.startswith(_ONE_ERROR):
        return f"Error of {metric.removeprefix(_ONE_ERROR)}"
    return _LABELS.get(metric, metric)


def is_error(metric: str) -> bool:
    """Whether a column holds errors: of all, or `error_NAME` of one network."""
    return metric == "error" or metric.startswith(_ONE_ERROR)


def quantity(value: float | None, metric: str) -> str:
    """A value with its unit; an error as a percentage."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = percent(value) if is_error(metric) else format_metric(value, metric)
    return text.replace(" ", _NO_BREAK).replace("m2", "m\N{SUPERSCRIPT TWO}")


def predicted_origin(provenance: str) -> str:
    """Where a predicted cost comes from: a sum of measured parts is not itself measured."""
    return "from measured blocks" if provenance == "measured" else provenance


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with two decimals."""
    if fraction is None or not math.isfinite(fraction):
        return UNKNOWN
    return f"{100.0 * fraction:.2f}{_NO_BREAK}%"


def signed_percent(fraction: float) -> str:
    """A change as a percentage with its sign."""
    return f"{100.0 * fraction:+.1f}{_NO_BREAK}%"


def seconds(value: float) -> str:
    """A duration with its unit; from two minutes on in minutes, from two hours on in hours."""
    for limit, divisor, unit in ((7200.0, 3600.0, "h"), (120.0, 60.0, "min")):
        if math.isfinite(value) and value >= limit:
            return f"{value / divisor:.3g}{_NO_BREAK}{unit}"
    return format_quantity(value, "time").replace(" ", _NO_BREAK)


def plain(value: Any) -> str:
    """An option or argument as a reader writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
