"""Plots of a search for a network: errors against costs, and progress."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from hwnas.quantities import format_metric
from hwnas.report.drawing import (
    BUDGET,
    CHOSEN,
    FRONT,
    MUTED,
    PAPER,
    drawing,
    legend_above,
    spread_axis,
    thinned,
    unit_of,
)
from hwnas.report.wording import metric_label
from hwnas.search.dominance import hypervolume, is_non_dominated
from hwnas.search.run_records import CostFigure
from hwnas.search.run_tables import HistoryTable

__all__ = ["Mark", "plot_progress", "plot_trade_off"]

_STEPS = 120  # points of the hypervolume line

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mark:
    """The chosen network in a plot.

    Args:
        error: A fraction.
        predicted: Cost in SI units; NaN if there is none.
        measured: With its interval, if there is one.
    """

    error: float
    predicted: float
    measured: CostFigure | None = None


def plot_trade_off(
    metric: str,
    costs: Floats,
    error: Floats,
    front_costs: Floats,
    front_error: Floats,
    *,
    chosen: Mark | None = None,
    limit: float | None = None,
) -> str | None:
    """Error against a cost, of all evaluated architectures.

    Args:
        metric: The cost, on the horizontal axis.
        costs: `(n,)` in SI units.
        error: `(n,)` fractions; rows that are not finite are not drawn.
        front_costs: `(k,)`.
        front_error: `(k,)`.
        chosen: The chosen network.
        limit: The budget on this metric.

    Returns:
        An `<svg>` element, or None if there is no point to draw.
    """
    shown = np.isfinite(costs) & np.isfinite(error)
    on_front = np.isfinite(front_costs) & np.isfinite(front_error)
    if not shown.any() and not on_front.any():
        return None
    with drawing(f"trade-off {metric}") as (figure, svg):
        axes = figure.subplots()
        everything = np.concatenate((costs[shown], front_costs[on_front]))
        scale, unit = unit_of(everything, metric)
        x, y = thinned(costs[shown] / scale, 100.0 * error[shown])
        if len(x):
            axes.scatter(x, y, s=9, color=MUTED, alpha=0.45, linewidths=0, label="evaluated")
        if on_front.any():
            _draw_front(axes, front_costs[on_front] / scale, 100.0 * front_error[on_front])
        if limit is not None:
            axes.axvline(
                limit / scale,
                color=BUDGET,
                linestyle=(0, (5, 3)),
                linewidth=1.3,
                label=f"budget, {format_metric(limit, metric)}",
            )
        if chosen is not None:
            _draw_chosen(axes, chosen, scale)
        spread_axis(axes.xaxis, everything)
        axes.set_xlabel(f"{metric_label(metric)}{f' ({unit})' if unit else ''}")
        axes.set_ylabel("Error (%)")
        axes.margins(0.06)
        legend_above(figure, axes)
    return svg[0]


def plot_progress(history: HistoryTable, metric: str, limit: float | None = None) -> str | None:
    """Least error and hypervolume over the evaluations.

    The hypervolume is that of error and the cost, below the budget or else the largest cost seen
    and the largest error seen, as a share of its last value.

    Args:
        history: All that was evaluated.
        metric: The cost.
        limit: The budget on this metric.

    Returns:
        An `<svg>` element, or None if no error was evaluated.
    """
    met = (history.violation <= 0) & np.isfinite(history.error)
    if not met.any():
        return None
    evaluations = np.arange(1, len(history) + 1)
    best = np.minimum.accumulate(np.where(met, history.error, np.inf))
    started = np.isfinite(best)
    volume = _hypervolumes(history, metric, met, limit)
    with drawing("progress") as (figure, svg):
        panels = figure.subplots(1 if volume is None else 2, 1, sharex=True, squeeze=False)[:, 0]
        axes = panels[0]
        axes.step(
            *_corners(evaluations[started], 100.0 * best[started]),
            where="post",
            color=FRONT,
            linewidth=1.8,
        )
        axes.set_ylabel("Least error (%)")
        axes.margins(0.03, 0.12)
        if volume is not None:
            axes = panels[1]
            axes.plot(*volume, color=CHOSEN, linewidth=1.8)
            axes.set_ylabel("Hypervolume (%)")
            axes.set_ylim(0, 106)
        axes.set_xlabel("Architectures evaluated")
        figure.align_ylabels()
    return svg[0]


def _draw_front(axes: Axes, x: Floats, y: Floats) -> None:
    # Members may be on the front by another cost: the line joins those that are by this one.
    joined = is_non_dominated(np.stack((y, x), axis=1))
    order = np.lexsort((y, x))
    order = order[joined[order]]
    axes.step(x[order], y[order], where="post", color=FRONT, linewidth=1.2, alpha=0.75)
    axes.scatter(
        x, y, s=24, color=FRONT, edgecolors=PAPER, linewidths=0.7, zorder=3, label="front"
    )


def _draw_chosen(axes: Axes, chosen: Mark, scale: float) -> None:
    if not np.isfinite(chosen.error):
        return
    y = 100.0 * chosen.error
    found = chosen.measured
    if found is not None and found.value is not None:
        value = found.value
        low = value if found.low is None else found.low
        high = value if found.high is None else found.high
        spread = np.maximum(0.0, [[value - low], [high - value]]) / scale
        axes.errorbar(
            [value / scale],
            [y],
            xerr=spread,
            fmt="D",
            markersize=5.5,
            color=CHOSEN,
            markerfacecolor=PAPER,
            capsize=3,
            zorder=4,
            label="chosen, measured",
        )
    if np.isfinite(chosen.predicted):
        axes.scatter(
            [chosen.predicted / scale],
            [y],
            s=130,
            marker="*",
            color=CHOSEN,
            edgecolors=PAPER,
            linewidths=0.8,
            zorder=5,
            label="chosen, predicted",
        )


def _hypervolumes(
    history: HistoryTable, metric: str, met: npt.NDArray[np.bool_], limit: float | None
) -> tuple[npt.NDArray[np.int64], Floats] | None:
    if metric not in history.metrics:
        return None
    cost = history.costs[:, history.metrics.index(metric)]
    met = met & np.isfinite(cost)
    points = np.stack((history.error, cost), axis=1)
    if met.sum() < 2:
        return None
    reference = points[met].max(axis=0)
    if limit is not None:
        reference[1] = limit
    ends = np.unique(np.linspace(1, len(points), min(_STEPS, len(points))).astype(np.int64))
    front = np.empty((0, 2))
    values, start = [], 0
    for end in ends.tolist():
        new = points[start:end][met[start:end]]
        front = np.concatenate((front, new))
        front = front[is_non_dominated(front)] if len(front) else front
        values.append(hypervolume(front, reference) if len(front) else 0.0)
        start = end
    if not values[-1] > 0:
        return None
    return ends, 100.0 * np.array(values) / values[-1]


def _corners(x: npt.NDArray[Any], y: Floats) -> tuple[npt.NDArray[Any], Floats]:
    """A step line without the points where nothing changes."""
    kept = np.ones(len(y), bool)
    kept[1:-1] = y[1:-1] != y[:-2]
    return x[kept], y[kept]
