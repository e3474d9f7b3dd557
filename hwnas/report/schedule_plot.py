"""A schedule as a Gantt chart: one lane a sub-accelerator, one bar a layer, one colour a network.

Drawn as SVG here, because every bar says what it is when pointed at.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from hwnas.cosearch.design_record import DesignRecord, ScheduledLayer
from hwnas.report import wording
from hwnas.report.drawing import unit_of

__all__ = ["MOST_BARS", "plot_schedule", "series_of"]

MOST_BARS = 2000
_SERIES = 6  # colours of the page for things of one kind
_CYCLES = "latency_cycles"

# In the units of the drawing, which is 1000 wide; letters are about 7 wide.
_WIDTH, _LEFT, _RIGHT, _TOP = 1000.0, 110.0, 16.0, 26.0
_LANE, _BAR, _AXIS = 56.0, 38.0, 48.0
_LETTER, _PADDING = 7.2, 8.0
_FARTHEST_SPEC = 1.5  # of the latency: a looser spec would squeeze the bars


def series_of(networks: Sequence[str]) -> dict[str, str]:
    """Label of each network to its colour, as CSS has it."""
    labels = dict.fromkeys(networks)
    return {label: f"var(--series{i % _SERIES + 1})" for i, label in enumerate(labels)}


def plot_schedule(design: DesignRecord) -> Markup | None:
    """The chart, or None if nothing is scheduled.

    Args:
        design: The design; of very long schedules the first `MOST_BARS` layers are drawn.
    """
    bars = design.schedule[:MOST_BARS]
    end = max((bar.end_cycles for bar in bars), default=0.0)
    if not end > 0.0:
        return None
    lanes = {sub.name: place for place, sub in enumerate(design.hardware)}
    limit = design.specs.get(_CYCLES)
    shown = limit if limit is not None and end < limit <= _FARTHEST_SPEC * end else end
    per_cycle = (_WIDTH - _LEFT - _RIGHT) / shown
    height = _TOP + _LANE * len(lanes) + _AXIS
    colours = series_of([network.label for network in design.networks])
    parts = [
        *_axis(shown, per_cycle, height - _AXIS),
        *(_lane(sub.name, f"{sub.dataflow}, {sub.pes:,} PEs", lanes) for sub in design.hardware),
        *(_bar(bar, per_cycle, lanes, colours) for bar in bars if bar.sub_accelerator in lanes),
    ]
    if limit is not None and limit <= shown:
        parts.append(_limit(limit, per_cycle, height - _AXIS))
    return Markup(
        '<svg viewBox="0 0 {:g} {:g}" font-size="13" font-family="system-ui, sans-serif" '
        'aria-hidden="true" focusable="false">\n{}\n</svg>'
    ).format(_WIDTH, height, Markup("\n").join(parts))


def _axis(end: float, per_cycle: float, bottom: float) -> list[Markup]:
    scale, unit = unit_of(np.array([end]), _CYCLES)
    ticks = [t for t in MaxNLocator(8).tick_values(0.0, end / scale) if 0.0 <= t * scale <= end]
    parts = []
    for tick in ticks:
        x = _LEFT + tick * scale * per_cycle
        parts.append(_line(x, _TOP, x, bottom, "var(--grid)"))
        parts.append(_text(x, bottom + 18.0, f"{tick:g}", "var(--muted)", "middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2.0
    parts.append(_line(_LEFT, bottom, _WIDTH - _RIGHT, bottom, "var(--muted)"))
    parts.append(_text(middle, bottom + 40.0, f"Time ({unit})", "var(--ink)", "middle"))
    return parts


def _lane(name: str, what: str, lanes: Mapping[str, int]) -> Markup:
    middle = _TOP + _LANE * (lanes[name] + 0.5)
    first = _text(0.0, middle - 2.0, name, "var(--ink)", "start", bold=True)
    return first + _text(0.0, middle + 14.0, what, "var(--muted)", "start")


def _bar(
    bar: ScheduledLayer,
    per_cycle: float,
    lanes: Mapping[str, int],
    colours: Mapping[str, str],
) -> Markup:
    x = _LEFT + bar.start_cycles * per_cycle
    y = _TOP + _LANE * lanes[bar.sub_accelerator] + (_LANE - _BAR) / 2.0
    width = max(0.6, (bar.end_cycles - bar.start_cycles) * per_cycle)
    start, end = (wording.quantity(t, _CYCLES) for t in (bar.start_cycles, bar.end_cycles))
    title = (
        f"{bar.network} {bar.layer} on {bar.sub_accelerator}: {start} to {end}, utilisation "
        f"{wording.percent(bar.utilisation)}, {wording.quantity(bar.energy_j, 'energy_j')}"
    )
    names = (bar.layer, bar.layer.partition("/")[0])
    name = next((n for n in names if len(n) * _LETTER + _PADDING <= width), "")
    label = _text(x + width / 2.0, y + _BAR / 2.0 + 4.0, name, "var(--card)", "middle")
    return Markup(
        '<g><title>{}</title><rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:g}" '
        'style="fill: {}; stroke: var(--card); stroke-width: {:g}"/>{}</g>'
    ).format(
        title,
        x,
        y,
        width,
        _BAR,
        colours.get(bar.network, "var(--muted)"),
        1.0 if width > 3.0 else 0.2,
        label if name else "",
    )


def _limit(limit: float, per_cycle: float, bottom: float) -> Markup:
    x = _LEFT + limit * per_cycle
    text = f"spec, {wording.quantity(limit, _CYCLES)}"
    line = _line(x, _TOP - 6.0, x, bottom, "var(--budget)", dashes="6 4")
    return line + _text(x, _TOP - 10.0, text, "var(--budget)", "end")


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, dashes: str = "none"
) -> Markup:
    return Markup(
        '<line x1="{:.2f}" y1="{:.2f}" x2="{:.2f}" y2="{:.2f}" '
        'style="stroke: {}; stroke-dasharray: {}"/>'
    ).format(x1, y1, x2, y2, colour, dashes)


def _text(
    x: float, y: float, text: str, colour: str, anchor: str, *, bold: bool = False
) -> Markup:
    return Markup(
        '<text x="{:.2f}" y="{:.2f}" text-anchor="{}" font-weight="{}" style="fill: {}">{}</text>'
    ).format(x, y, anchor, 600 if bold else 400, colour, escape(text))
