"""The page of a search for a network."""

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from hwnas.report import wording
from hwnas.report.front_table import front_columns, front_context
from hwnas.report.network_options import option_rows
from hwnas.report.page import Plot, run_context
from hwnas.report.plots import Mark, plot_progress, plot_trade_off
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import ChosenRecord, CostFigure
from hwnas.search.run_tables import FrontMember, HistoryTable

__all__ = ["search_context"]

LATENCY = "latency_s"


@dataclass(frozen=True)
class _CostRow:
    """One metric of the chosen network."""

    label: str
    budget: str
    predicted: str
    predicted_from: str
    measured: str
    measured_from: str
    interval: str
    samples: str
    deviation: str
    kept: bool | None


def search_context(run: RunDirectory) -> dict[str, object]:
    """What the template `search.html` is filled with.

    Raises:
        RunError: A file of the run is malformed.
    """
    history = run.read_history() if run.has("history.parquet") else None
    front = run.read_front() if run.has("front.csv") else []
    chosen = run.read_chosen() if run.has("chosen.json") else None
    origins: dict[str, str] = {}
    if chosen is not None:
        origins |= {metric: figure.provenance for metric, figure in chosen.predicted.items()}
    columns = front_columns(front, origins | run.record.provenance)
    score = "accuracy" if chosen is None else chosen.error.score
    provenances = {column.provenance for column in columns}
    if chosen is not None:
        figures = (*chosen.predicted.values(), *chosen.measured.values())
        provenances |= {figure.provenance for figure in figures}
    space = wording.plain(run.record.arguments.get("space", "a search"))
    target = run.target
    return {
        **run_context(run, provenances),
        **front_context(front, columns, None if chosen is None else chosen.architecture),
        "space": space,
        "target": target,
        "chosen": chosen,
        "budgets": _budgets(chosen),
        "verdict": _verdict(chosen),
        "cost_rows": [] if chosen is None else _cost_rows(chosen),
        "error_rows": [] if chosen is None else _error_rows(chosen),
        "is_rank": run.record.arguments.get("estimator") == "zero-cost",
        "rank_share": _rank_share(chosen),
        "score": score,
        "score_title": score[0].upper() + score[1:],
        "blocks": (
            []
            if chosen is None
            else option_rows(
                str(run.record.arguments.get("space", "")), chosen.architecture, chosen.options
            )
        ),
        "candidates": [] if chosen is None else _candidates(chosen),
        "plots": _plots(history, front, chosen),
        "evaluated": None if history is None else len(history),
        "met": None if history is None else int((history.violation <= 0).sum()),
        "environment": [
            ("Target", f"{target.name}: {target.description}"),
            ("Fingerprint", target.fingerprint),
            ("Threads", str(target.threads)),
        ],
    }


# The chosen network -----------------------------------------------------------------------------


def _budgets(chosen: ChosenRecord | None) -> list[str]:
    if chosen is None:
        return []
    limits = chosen.budgets.items()
    return [f"{wording.metric_label(m).lower()} ≤ {wording.quantity(v, m)}" for m, v in limits]


def _verdict(chosen: ChosenRecord | None) -> tuple[str, str]:
    """Tone and text of the badge."""
    if chosen is None:
        return "open", "No network chosen yet"
    if not chosen.budgets:
        return "open", "No budget was set"
    how = "measured" if chosen.measured.keys() & chosen.budgets.keys() else "predicted only"
    return ("good", f"Budget kept ({how})") if chosen.budget_kept else ("bad", "Budget not kept")


def _cost_rows(chosen: ChosenRecord) -> list[_CostRow]:
    metrics = dict.fromkeys((*chosen.budgets, *chosen.predicted, *chosen.measured))
    return [_cost_row(chosen, metric) for metric in metrics]


def _cost_row(chosen: ChosenRecord, metric: str) -> _CostRow:
    predicted, measured = chosen.predicted.get(metric), chosen.measured.get(metric)
    limit = chosen.budgets.get(metric)
    known = [f.value for f in (measured, predicted) if f is not None and f.value is not None]
    deviation = ""
    if measured and predicted and measured.value is not None and predicted.value:
        deviation = wording.signed_percent(measured.value / predicted.value - 1.0)
    interval = samples = ""
    if measured is not None and measured.low is not None and measured.high is not None:
        low, high = (wording.quantity(v, metric) for v in (measured.low, measured.high))
        interval = f"{low} to {high}"
    if measured is not None and measured.repeats:
        samples = f"{measured.repeats} runs"
        if measured.spread is not None:
            samples += f", quartiles {wording.quantity(measured.spread, metric)} apart"
    return _CostRow(
        label=wording.metric_label(metric),
        budget="" if limit is None else f"≤ {wording.quantity(limit, metric)}",
        predicted=_value(predicted, metric),
        predicted_from=wording.predicted_origin(predicted.provenance) if predicted else "",
        measured=_value(measured, metric),
        measured_from=measured.provenance if measured else "",
        interval=interval,
        samples=samples,
        deviation=deviation,
        kept=known[0] <= limit if known and limit is not None else None,
    )


def _value(figure: CostFigure | None, metric: str) -> str:
    return "—" if figure is None else wording.quantity(figure.value, metric)


def _error_rows(chosen: ChosenRecord) -> list[tuple[str, str, str, str]]:
    """Split, score, error, images."""
    error = chosen.error
    rows = []
    for split, value, images in (
        ("Test", error.test, error.test_images),
        ("Validation", error.validation, error.validation_images),
    ):
        if value is not None:
            count = "not recorded" if images is None else f"{images:,}"
            rows.append((split, wording.percent(1.0 - value), wording.percent(value), count))
    return rows


def _rank_share(chosen: ChosenRecord | None) -> str:
    share = None if chosen is None else chosen.error.rank_share
    return "" if share is None else wording.percent(share)


def _candidates(chosen: ChosenRecord) -> list[list[tuple[str, str]]]:
    """Label and text of each cell, a row for each network that was measured."""
    if len(chosen.candidates) < 2:
        return []
    metrics = dict.fromkeys(metric for found in chosen.candidates for metric in found.measured)
    rows = []
    for number, found in enumerate(chosen.candidates, 1):
        row = [("No.", str(number))]
        for metric in metrics:
            label = wording.metric_label(metric)
            row.append((f"{label}, predicted", _cell(found.predicted.get(metric), metric)))
            row.append((f"{label}, measured", _cell(found.measured.get(metric), metric)))
        same = found.architecture == chosen.architecture
        row.append(("Budget", ("kept" if found.kept else "not kept") + ", chosen" * same))
        rows.append(row)
    return rows


def _cell(figure: CostFigure | None, metric: str) -> str:
    """A value and where it comes from."""
    return "—" if figure is None else f"{_value(figure, metric)} ({figure.provenance})"


# Plots ------------------------------------------------------------------------------------------


def _plots(
    history: HistoryTable | None, front: list[FrontMember], chosen: ChosenRecord | None
) -> list[Plot]:
    if history is None:
        return []
    plots = [
        plot
        for metric in history.metrics
        if (plot := _trade_off(history, metric, front, chosen)) is not None
    ]
    limits = {} if chosen is None else chosen.budgets
    metric = LATENCY if LATENCY in history.metrics else next(iter(history.metrics), LATENCY)
    svg = plot_progress(history, metric, limits.get(metric))
    if svg is not None:
        best = float(np.nanmin(history.error[history.violation <= 0]))
        caption = (
            f"After {len(history):,} architectures the least error within budget is "
            f"{wording.percent(best)}. The hypervolume is that of error and "
            f"{wording.metric_label(metric).lower()}, as a share of its last value."
        )
        plots.insert(min(1, len(plots)), Plot(Markup(svg), "Progress of the search", caption))
    return plots


def _trade_off(
    history: HistoryTable, metric: str, front: list[FrontMember], chosen: ChosenRecord | None
) -> Plot | None:
    svg = plot_trade_off(
        metric,
        history.costs[:, history.metrics.index(metric)],
        history.error,
        np.array([member.costs.get(metric, math.nan) for member in front], dtype=np.float64),
        np.array([member.error for member in front], dtype=np.float64),
        chosen=None if chosen is None else _mark(chosen, metric, history),
        limit=None if chosen is None else chosen.budgets.get(metric),
    )
    if svg is None:
        return None
    label = wording.metric_label(metric).lower()
    known = int(np.isfinite(history.error).sum())
    caption = (
        "Each point is an evaluated architecture, at the error that the search estimated, "
        "with ties in the order of cross-entropy where the estimator has one; the "
        f"line joins members of the front that none beats in both error and {label}. "
        f"{known:,} of {len(history):,} are shown"
    )
    if known < len(history):
        caption += "; the others broke a budget, and their error was not asked for"
    return Plot(Markup(svg), f"Error against predicted {label}", caption + ".")


def _mark(chosen: ChosenRecord, metric: str, history: HistoryTable) -> Mark:
    """Where the chosen network stands: at the error that the search saw, if it saw one."""
    error = math.nan if chosen.error.validation is None else chosen.error.validation
    if history.population.shape[1] == len(chosen.architecture):
        wanted = np.array(chosen.architecture, np.uint8)
        same = (history.population == wanted).all(axis=1) & np.isfinite(history.error)
        if same.any():
            error = float(history.error[int(np.argmax(same))])
    predicted = chosen.predicted.get(metric)
    value = math.nan if predicted is None or predicted.value is None else predicted.value
    return Mark(error, value, chosen.measured.get(metric))
