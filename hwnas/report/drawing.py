"""Drawings as inline SVG that takes its colours and its font from the page.

Matplotlib draws with stand-in colours, which are then replaced by CSS variables: one drawing
serves light and dark pages. Text stays text, so that it can be searched and selected.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from hwnas.quantities import METRIC_DIMENSIONS, format_metric, parse_metric

__all__ = [
    "BUDGET",
    "CHOSEN",
    "FRONT",
    "MUTED",
    "PAPER",
    "drawing",
    "legend_above",
    "spread_axis",
    "thinned",
    "unit_of",
]

INK, MUTED, GRID = "#111101", "#777701", "#dddd01"
FRONT, CHOSEN, BUDGET, PAPER = "#2222f1", "#f12222", "#a13301", "#fefe01"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    FRONT: "var(--front)",
    CHOSEN: "var(--chosen)",
    BUDGET: "var(--budget)",
    PAPER: "var(--card)",
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}
SIZE_IN = (5.6, 3.7)
_LOG_SPAN = 30.0
_CELLS = (220, 140)  # one point a cell is drawn: more would not be seen, only downloaded

Floats = npt.NDArray[np.float64]


@contextmanager
def drawing(
    salt: str, size_in: tuple[float, float] = SIZE_IN
) -> Iterator[tuple[Figure, list[str]]]:
    """A figure to draw on; its SVG is in the list afterwards.

    Args:
        salt: Makes names of elements; different for each drawing of a page.
        size_in: Width and height.
    """
    svg: list[str] = []
    style: dict[Any, Any] = {**_STYLE, "svg.hashsalt": salt}
    with mpl.rc_context(style):
        figure = Figure(figsize=size_in, layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, svg
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg.append(_inline(buffer.getvalue(), hashlib.sha256(salt.encode()).hexdigest()[:8]))


def _inline(document: str, prefix: str) -> str:
    """The `<svg>` element alone, in the page's colours and font, without namespaces.

    Names of elements get a prefix, because a page has several plots; those that nothing refers to
    are dropped.
    """
    element = document[document.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", element)
    head, rest = element.split(">", 1)
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    element = f'{head} aria-hidden="true" focusable="false">{rest}'
    element = element.replace(f"'{_STYLE['font.family']}'", "system-ui, sans-serif")
    element = re.sub(r"\n\s*", "\n", element)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', element))
    element = re.sub(r'\sid="([^"]*)"', lambda m: m[0] if m[1] in used else "", element)
    element = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>p{prefix}-", element)
    for colour, variable in _VARIABLES.items():
        element = element.replace(colour, variable)
    return element.strip()


def legend_above(figure: Figure, axes: Axes) -> None:
    """Put the legend over the drawing, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=3, handletextpad=0.4, columnspacing=1.2
    )


def spread_axis(axis: Axis, values: Floats) -> None:
    """Make an axis logarithmic if the positive ones of the values on it are far apart."""
    positive = values[values > 0]
    if not (len(positive) and positive.max() > _LOG_SPAN * positive.min()):
        return
    axis.axes.set(**{"xscale" if axis is axis.axes.xaxis else "yscale": "log"})
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_major_formatter(lambda value, _: f"{value:g}")  # matplotlib's own writes TeX
    axis.set_minor_formatter(NullFormatter())


def thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Points `(n,)` with one left in each cell of a fine grid."""
    if not len(x):
        return x, y
    cells = []
    for values, count in zip((x, y), _CELLS, strict=True):
        span = np.ptp(values)
        position = (values - values.min()) / span if span > 0 else np.zeros_like(values)
        cells.append((position * (count - 1)).astype(np.int64))
    _, kept = np.unique(np.stack(cells, axis=1), axis=0, return_index=True)
    return x[kept], y[kept]


def unit_of(values: Floats, metric: str) -> tuple[float, str]:
    """Divisor and unit in which most values have one to three digits before the point."""
    middle = float(np.median(np.abs(values)))
    if metric not in METRIC_DIMENSIONS or not middle > 0:
        return 1.0, ""
    unit = format_metric(middle, metric).split()[1]
    return parse_metric(f"1{unit}", metric), unit
