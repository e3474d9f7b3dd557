"""The page of a co-search: the networks, the chip, and what runs where and when."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from hwnas.cosearch.design_record import DesignRecord, NetworkRecord, read_design
from hwnas.cosearch.specs import METRICS
from hwnas.report import wording
from hwnas.report.design_plots import plot_designs, plot_learning
from hwnas.report.front_table import front_columns, front_context
from hwnas.report.network_options import option_rows
from hwnas.report.page import Plot, run_context
from hwnas.report.schedule_plot import MOST_BARS, plot_schedule, series_of
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_tables import HistoryTable

__all__ = ["cosearch_context"]

_MOST_LAYERS = 500
_DATAFLOWS = {
    "dla": "weight-stationary (dla)",
    "shi": "output-stationary (shi)",
    "rs": "row-stationary (rs)",
}
_WITHOUT_EPISODES = ("nsga2",)


@dataclass(frozen=True)
class _CostRow:
    """One metric of the design."""

    label: str
    spec: str
    found: str
    under: str
    share: str
    kept: bool | None


@dataclass(frozen=True)
class _LayerRow:
    """One layer of the schedule."""

    network: str
    colour: str
    layer: str
    where: str
    start: str
    cycles: str
    cycle_share: str
    utilisation: str
    energy: str
    energy_share: str


def cosearch_context(run: RunDirectory) -> dict[str, object]:
    """What the template `cosearch.html` is filled with.

    Raises:
        RunError: A file of the run is malformed.
    """
    history = run.read_history() if run.has("history.parquet") else None
    front = run.read_front() if run.has("front.csv") else []
    design = read_design(run.path / "chosen.json") if run.has("chosen.json") else None
    columns = front_columns(front, run.record.provenance)
    provenances = {column.provenance for column in columns}
    if design is not None:
        provenances |= {design.provenance, *(n.error_provenance for n in design.networks)}
    arguments, target = run.record.arguments, run.target
    return {
        **run_context(run, provenances),
        **front_context(front, columns, None if design is None else design.architecture),
        "spaces": wording.plain(arguments.get("spaces", "networks")),
        "hardware": wording.plain(arguments.get("hardware", target.name)),
        "technology": wording.plain(arguments.get("technology", "an unknown technology")),
        "specs": _specs(design, arguments.get("spec")),
        "verdict": _verdict(design),
        "design": design,
        "cost_rows": [] if design is None else _cost_rows(design),
        "optimality": "" if design is None else _optimality(design),
        "network_rows": [] if design is None else [_network_row(n) for n in design.networks],
        "options": [] if design is None else _options(design),
        "hardware_rows": [] if design is None else _hardware_rows(design),
        "schedule": None if design is None else plot_schedule(design),
        "drawn_layers": MOST_BARS,
        "keys": {} if design is None else series_of([n.label for n in design.networks]),
        "layer_rows": [] if design is None else _layer_rows(design),
        "plots": _plots(history, design, str(arguments.get("strategy", ""))),
        "evaluated": None if history is None else len(history),
        "met": None if history is None else int((history.violation <= 0).sum()),
        "environment": [
            ("Chips", f"{target.name}: {target.description}"),
            ("Digest of costs", target.fingerprint),
        ],
    }


def _specs(design: DesignRecord | None, given: object) -> list[str]:
    """Limits in words; as they were given where no design says them."""
    if design is None:
        return [] if given is None else [wording.plain(given)]
    return [f"{_label(m).lower()} ≤ {wording.quantity(v, m)}" for m, v in design.specs.items()]


def _label(metric: str) -> str:
    return "Latency" if metric == "latency_cycles" else wording.metric_label(metric)


def _verdict(design: DesignRecord | None) -> tuple[str, str]:
    """Tone and text of the badge."""
    if design is None:
        return "open", "No design chosen yet"
    how = f"({design.provenance})"
    return ("good", f"Specs met {how}") if design.specs_met else ("bad", f"Specs not met {how}")


# The design --------------------------------------------------------------------------------------


def _cost_rows(design: DesignRecord) -> list[_CostRow]:
    rows = []
    for metric in METRICS:
        value: float | None = getattr(design, metric)
        limit = design.specs.get(metric)
        known = value is not None and limit is not None and limit > 0.0
        seconds = design.latency_s if metric == "latency_cycles" else None
        rows.append(
            _CostRow(
                label=_label(metric),
                spec="" if limit is None else f"≤ {wording.quantity(limit, metric)}",
                found="cannot run" if value is None else wording.quantity(value, metric),
                under="" if seconds is None else f"{wording.quantity(seconds, 'latency_s')}",
                share=_share(value / limit) if known else "",  # type: ignore[operator]
                kept=None if limit is None else metric not in design.missed,
            )
        )
    return rows


def _optimality(design: DesignRecord) -> str:
    """What is known about other schedules of the same networks on the same chip."""
    for gap, what, where in (
        (design.energy_gap, "energy", " within the latency spec"),
        (design.latency_gap, "time", ""),
    ):
        if gap is None:
            continue
        if gap <= 0.0:
            return f"It is proved that no schedule of this design{where} takes less {what}."
        return (
            f"Another schedule of this design{where} could take at most {_share(gap)} less {what}."
        )
    return ""


def _network_row(network: NetworkRecord) -> list[tuple[str, str]]:
    """Label and text of each cell."""
    found = [
        "not known" if error is None else wording.percent(1.0 - error)
        for error in (network.validation_error, network.test_error)
    ]
    return [
        ("Network", network.label),
        ("Weight", f"{network.weight:.3g}"),
        ("Score", network.score),
        ("Validation", found[0]),
        ("Test", found[1]),
        ("Origin", network.error_provenance),
    ]


def _options(design: DesignRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (network.label, option_rows(network.space, network.architecture, network.options))
        for network in design.networks
    ]


def _hardware_rows(design: DesignRecord) -> list[list[tuple[str, str]]]:
    """Label and text of each cell, a row for each sub-accelerator."""
    runs = Counter((bar.sub_accelerator, bar.network) for bar in design.schedule)
    rows = []
    for sub in design.hardware:
        own = [f"{runs[sub.name, n.label]} of {n.label}" for n in design.networks
               if runs[sub.name, n.label]]  # fmt: skip
        rows.append(
            [
                ("Sub-accelerator", sub.name),
                ("Dataflow", _DATAFLOWS.get(sub.dataflow, sub.dataflow)),
                ("PEs", f"{sub.pes:,}"),
                ("Elements per cycle", f"{sub.bandwidth:,}"),
                ("Area", wording.quantity(sub.area_mm2, "area_mm2")),
                ("Layers", ", ".join(own) or "none"),
                ("Busy", _share(sub.busy_share)),
                ("Utilisation", _share(sub.utilisation)),
            ]
        )
    return rows


def _layer_rows(design: DesignRecord) -> list[_LayerRow]:
    bars = sorted(design.schedule, key=lambda bar: (bar.start_cycles, bar.sub_accelerator))
    cycles = sum(bar.end_cycles - bar.start_cycles for bar in bars)
    energy = sum(bar.energy_j for bar in bars)
    colours = series_of([network.label for network in design.networks])
    return [
        _LayerRow(
            bar.network,
            colours.get(bar.network, "var(--muted)"),
            bar.layer,
            bar.sub_accelerator,
            wording.quantity(bar.start_cycles, "latency_cycles"),
            wording.quantity(bar.end_cycles - bar.start_cycles, "latency_cycles"),
            _share((bar.end_cycles - bar.start_cycles) / cycles if cycles > 0.0 else 0.0),
            _share(bar.utilisation) if bar.utilisation > 0.0 else "—",
            wording.quantity(bar.energy_j, "energy_j"),
            _share(bar.energy_j / energy if energy > 0.0 else 0.0),
        )
        for bar in bars[:_MOST_LAYERS]
    ]


def _share(fraction: float) -> str:
    """With one decimal, because these are models."""
    shown = "<0.1" if 0.0 < fraction < 0.0005 else f"{100.0 * fraction:.1f}"
    return f"{shown}\N{NO-BREAK SPACE}%"


# Plots -------------------------------------------------------------------------------------------


def _plots(
    history: HistoryTable | None, design: DesignRecord | None, strategy: str
) -> Sequence[Plot]:
    if history is None or not len(history):
        return []
    limits = {} if design is None else design.specs
    chosen = {} if design is None else {metric: getattr(design, metric) for metric in METRICS}
    runs = _runs(history)
    caption = (
        f"Each point is an evaluated design. {runs:,} of {len(history):,} can run and are shown"
        "; where points lie close together, one stands for all. Costs are modelled."
    )
    plots = []
    for metric in METRICS[1:]:
        svg = plot_designs(history, metric, limits, chosen)
        if svg is not None:
            plots.append(Plot(Markup(svg), f"{_label(metric)} against latency", caption))
    svg = plot_learning(history, by_episode=strategy not in _WITHOUT_EPISODES)
    if svg is not None:
        text = (
            "Each point is a design: above by the weighted error of its networks, where it meets "
            "the specs, with the least so far as a line; below by its reward, with the mean over "
            "20 episodes as a line. Panels without points are left out."
        )
        plots.append(Plot(Markup(svg), "Progress of the search", text))
    return plots


def _runs(history: HistoryTable) -> int:
    known = [history.metrics.index(m) for m in METRICS if m in history.metrics]
    return int(np.isfinite(history.costs[:, known]).all(axis=1).sum())
