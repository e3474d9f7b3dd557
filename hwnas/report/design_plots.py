"""Plots of a co-search: what its designs cost, and how it got better."""

from collections.abc import Mapping

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
from hwnas.search.run_tables import HistoryTable

__all__ = ["plot_designs", "plot_learning"]

LATENCY, REWARD = "latency_cycles", "reward"
_DASHES = (0, (5, 3))
_MANY = 500  # designs, whose points are drawn smaller
_WINDOW = 20  # episodes over which rewards are averaged

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def plot_designs(
    history: HistoryTable,
    metric: str,
    limits: Mapping[str, float],
    chosen: Mapping[str, float | None],
) -> str | None:
    """A cost against latency, of all evaluated designs that can run.

    Args:
        history: All that was evaluated.
        metric: The cost on the vertical axis.
        limits: Metric to spec.
        chosen: Metric to cost of the chosen design; empty if there is none.

    Returns:
        An `<svg>` element, or None if no design can run or the costs are not in the history.
    """
    if LATENCY not in history.metrics or metric not in history.metrics:
        return None
    columns = [history.metrics.index(m) for m in (LATENCY, metric)]
    points = history.costs[:, columns]
    runs = (np.isfinite(points) & (points > 0.0)).all(axis=1)
    if not runs.any():
        return None
    met = runs & (history.violation <= 0.0)
    scales, units = zip(
        *(unit_of(points[runs, i], m) for i, m in enumerate((LATENCY, metric))), strict=True
    )
    size = 9 if runs.sum() > _MANY else 22
    with drawing(f"designs {metric}") as (figure, svg):
        axes = figure.subplots()
        for shown, colour, label in (
            (runs & ~met, MUTED, "breaks a spec"),
            (met, FRONT, "meets the specs"),
        ):
            x, y = np.exp(thinned(*np.log(points[shown] / scales).T))
            if len(x):
                axes.scatter(x, y, s=size, color=colour, alpha=0.5, linewidths=0, label=label)
        _draw_limits(axes, metric, limits, scales)
        at = [chosen.get(m) for m in (LATENCY, metric)]
        if at[0] is not None and at[1] is not None:
            axes.scatter(
                [at[0] / scales[0]],
                [at[1] / scales[1]],
                s=130,
                marker="*",
                color=CHOSEN,
                edgecolors=PAPER,
                linewidths=0.8,
                zorder=5,
                label="chosen",
            )
        for axis, column in ((axes.xaxis, 0), (axes.yaxis, 1)):
            spread_axis(axis, points[runs, column] / scales[column])
        axes.set_xlabel(f"Latency ({units[0]})" if units[0] else "Latency")
        axes.set_ylabel(metric_label(metric) + (f" ({_squared(units[1])})" if units[1] else ""))
        axes.margins(0.06)
        legend_above(figure, axes)
    return svg[0]


def plot_learning(history: HistoryTable, *, by_episode: bool) -> str | None:
    """Weighted error of the designs that meet the specs, and rewards, over the search.

    Args:
        history: All that was evaluated.
        by_episode: Whether generations of the history are episodes, which are then counted
            instead of designs.

    Returns:
        An `<svg>` element, or None if no design meets the specs with a known error and none has
        a reward.
    """
    met = (history.violation <= 0.0) & np.isfinite(history.error)
    rewards = np.full(len(history), np.nan)
    if REWARD in history.metrics:
        rewards = history.costs[:, history.metrics.index(REWARD)]
    rewarded = np.isfinite(rewards)
    if not met.any() and not rewarded.any():
        return None
    steps = history.generation if by_episode else np.arange(1, len(history) + 1, dtype=np.int32)
    with drawing("learning") as (figure, svg):
        rows = int(met.any()) + int(rewarded.any())
        panels = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
        panels[-1].set_xlabel("Episode" if by_episode else "Designs evaluated")
        if met.any():
            _draw_errors(panels.pop(0), steps[met], 100.0 * history.error[met])
        if rewarded.any():
            _draw_rewards(panels.pop(0), steps[rewarded], rewards[rewarded])
        figure.align_ylabels()
    return svg[0]


def _draw_limits(
    axes: Axes, metric: str, limits: Mapping[str, float], scales: tuple[float, ...]
) -> None:
    for name, scale, draw in (
        (LATENCY, scales[0], axes.axvline),
        (metric, scales[1], axes.axhline),
    ):
        if name in limits:
            text = f"spec, {_squared(format_metric(limits[name], name))}"
            draw(limits[name] / scale, color=BUDGET, linestyle=_DASHES, linewidth=1.3, label=text)


def _draw_errors(axes: Axes, steps: npt.NDArray[np.int32], errors: Floats) -> None:
    order = np.argsort(steps, kind="stable")
    x, y = thinned(steps.astype(np.float64), errors)
    axes.scatter(x, y, s=9, color=MUTED, alpha=0.45, linewidths=0)
    best = np.minimum.accumulate(errors[order])
    axes.step(steps[order], best, where="post", color=FRONT, linewidth=1.8)
    axes.set_ylabel("Weighted error (%)")
    axes.margins(0.03, 0.1)


def _draw_rewards(axes: Axes, steps: npt.NDArray[np.int32], rewards: Floats) -> None:
    x, y = thinned(steps.astype(np.float64), rewards)
    axes.scatter(x, y, s=9, color=MUTED, alpha=0.45, linewidths=0)
    numbers, place = np.unique(steps, return_inverse=True)
    sums, counts = np.bincount(place, rewards), np.bincount(place)
    window = np.ones(min(_WINDOW, len(numbers)))
    means = np.convolve(sums, window, "valid") / np.convolve(counts, window, "valid")
    axes.plot(numbers[len(window) - 1 :], means, color=CHOSEN, linewidth=1.8)
    axes.set_ylabel("Reward")
    axes.margins(0.03, 0.1)


def _squared(unit: str) -> str:
    return unit.replace("m2", "m\N{SUPERSCRIPT TWO}")
