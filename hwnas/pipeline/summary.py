"""A run in a few lines, and the same for a machine."""

from typing import Any

import msgspec

from hwnas.quantities import format_metric
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import CostFigure

__all__ = ["run_summary"]

MEMORY = "memory_bytes"


def run_summary(run: RunDirectory) -> tuple[dict[str, Any], str]:
    """What a finished search found, as an object and as text."""
    chosen = run.read_chosen()
    front = run.read_front()
    lines = [
        f"front of {len(front)} networks in {run.path / 'front.csv'}",
        f"chosen ({chosen.pick}): " + " ".join(map(str, chosen.architecture)),
    ]
    for metric, predicted in chosen.predicted.items():
        line = f"  {metric}: predicted {_shown(metric, predicted)}"
        line += f" (from {predicted.provenance} blocks)" if metric != MEMORY else " (from shapes)"
        measured = chosen.measured.get(metric)
        if measured is not None and measured.value and predicted.value:
            ratio = predicted.value / measured.value
            line += f", measured {_shown(metric, measured)}, ratio {ratio:.3f}"
        limit = chosen.budgets.get(metric)
        if limit is not None:
            line += f", budget {format_metric(limit, metric)}"
        lines.append(line)
    if chosen.not_measured:
        lines.append(f"  not re-measured: {chosen.not_measured}")
    if chosen.budgets:
        lines.append(f"  budget kept: {'yes' if chosen.budget_kept else 'NO'}")
    error = chosen.error
    for split, value, images in (
        ("validation", error.validation, error.validation_images),
        ("test", error.test, error.test_images),
    ):
        if value is not None:
            lines.append(f"  {split} {error.score}: {100 * (1 - value):.2f} % of {images} images")
    if error.rank_share is not None:
        lines.append(
            f"  before training: outdoes {100 * error.rank_share:.1f} % of random networks"
        )
    result = {
        "run": str(run.path),
        "front": len(front),
        "chosen": msgspec.to_builtins(chosen),
        "timings_s": run.record.timings_s,
    }
    return result, "\n".join(lines)


def _shown(metric: str, figure: CostFigure) -> str:
    if figure.value is None:
        return "unknown"
    shown = format_metric(figure.value, metric)
    if figure.low is None or figure.high is None:
        return shown
    return f"{shown} [{format_metric(figure.low, metric)}, {format_metric(figure.high, metric)}]"
