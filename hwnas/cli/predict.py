"""`hwnas predict`: what a model costs, kernel by kernel, without running it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwnas.cli.command import command
from hwnas.cli.options import settings_options, table_option, target_option
from hwnas.console import Console

if TYPE_CHECKING:
    from hwnas.pipeline.predicting import Prediction
    from hwnas.targets import Settings

__all__ = ["predict"]

_LABELS = {"latency_s": "Latency", "latency_cycles": "Cycles", "energy_j": "Energy"}


@command
@click.argument("model", type=click.Path(path_type=Path))
@target_option
@settings_options
@table_option
def predict(
    console: Console, model: Path, target: str, settings: "Settings", table: Path | None
) -> None:
    """Predict latency and energy of an ONNX file from its kernels' costs, without running it."""
    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.predicting import predict_model
    from hwnas.targets import get_target

    device = get_target(target).with_settings(settings)
    path = table or default_table_path()
    with CostTable(path) as opened, console.progress() as progress:
        found = predict_model(model, device, opened, progress=progress)
    result = {
        "model": str(model),
        "target": target,
        "threads": device.runtime.threads,
        "runtime": found.source.runtime,
        "fingerprint": found.source.fingerprint,
        "table": str(path),
        "computed": found.computed,
        "total": _totals(found),
        "kernels": _kernels(found),
    }
    if found.provenance("latency_s") == "measured":
        console.note(
            "a plain sum of kernels: what passes between them is left out, for which searches are "
            "calibrated by whole networks of their space"
        )
    console.emit(result, _text(console, found, f"{model.name} on {target}"))


def _totals(found: "Prediction") -> dict[str, Any]:
    totals: dict[str, Any] = {
        metric: {"value": None, "provenance": None, "reason": reason}
        for metric, reason in found.unknown.items()
    }
    for metric in found.metrics:
        sum_ = found.total(metric)
        totals[metric] = {
            "value": sum_.value,
            "low": sum_.low,
            "high": sum_.high,
            "provenance": found.provenance(metric),
        }
    return totals


def _kernels(found: "Prediction") -> list[dict[str, Any]]:
    return [
        {
            "signature": part.kernel.signature,
            "key": part.kernel.key,
            "count": part.count,
            "macs": part.kernel.macs,
            "share": share,
            "costs": {
                metric: {"value": row.value, "provenance": row.provenance}
                for metric, row in part.costs.items()
            },
        }
        for part, share in zip(found.kernels, _shares(found), strict=True)
    ]


def _shares(found: "Prediction") -> list[float]:
    """Of the latency of all kernels."""
    total = found.total("latency_s").value
    times = [part.count * part.costs["latency_s"].value for part in found.kernels]
    return [time / total if total > 0.0 else 0.0 for time in times]


def _text(console: Console, found: "Prediction", title: str) -> str:
    from hwnas.quantities import format_metric

    metrics = found.metrics
    shares = _shares(found)
    rows = [
        (
            part.kernel.signature,
            str(part.count),
            *(format_metric(part.costs[metric].value, metric) for metric in metrics),
            f"{100.0 * share:.1f} %",
        )
        for part, share in zip(found.kernels, shares, strict=True)
    ]
    labels = [_LABELS.get(metric, metric) for metric in metrics]
    columns = ("Kernel", "Count", *(f"{label} each" for label in labels), "Share of latency")
    lines = [console.table(title, columns, rows), ""]
    for metric, label in zip(metrics, labels, strict=True):
        sum_ = found.total(metric)
        interval = ""
        if sum_.high > sum_.low:
            low, high = (format_metric(value, metric) for value in (sum_.low, sum_.high))
            interval = f" ({low} to {high})"
        value = format_metric(sum_.value, metric)
        lines.append(f"{label}: {value}{interval}, {found.provenance(metric)}")
    for metric, reason in found.unknown.items():
        lines.append(f"{_LABELS.get(metric, metric)}: not known, {reason}")
    calls, distinct = sum(part.count for part in found.kernels), len(found.kernels)
    lines.append(
        f"Sum of {calls} kernels, {distinct} of them distinct, one after another by "
        f"{found.source.runtime}; {found.computed} computed now, {distinct - found.computed} from "
        "the table"
    )
    return "\n".join(lines)
