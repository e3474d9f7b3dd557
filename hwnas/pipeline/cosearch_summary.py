"""A co-search in a few lines and a table of its schedule, and the same for a machine."""

from typing import Any

import msgspec

from hwnas.cosearch.design_record import DesignRecord, read_design
from hwnas.quantities import format_metric
from hwnas.search.run_directory import RunDirectory

__all__ = ["cosearch_summary"]

_COLUMNS = ("sub-accelerator", "layer", "start", "end", "utilisation", "energy")


def cosearch_summary(
    run: RunDirectory,
) -> tuple[dict[str, Any], str, tuple[str, ...], list[tuple[str, ...]]]:
    """What a finished co-search found: an object, lines of text, and the schedule as a table."""
    design = read_design(run.path / "chosen.json")
    front = run.read_front()
    lines = [f"front of {len(front)} designs in {run.path / 'front.csv'}"]
    for network in design.networks:
        options = " ".join(f"{name}={option}" for name, option in network.options.items())
        line = f"{network.label}: {options}"
        for split, error in (
            ("validation", network.validation_error),
            ("test", network.test_error),
        ):
            if error is not None:
                line += f"; {split} {network.score} {100 * (1 - error):.2f} %"
        lines.append(f"{line} ({network.error_provenance})")
    lines += [
        f"{sub.name}: {sub.dataflow}, {sub.pes} PEs, {sub.bandwidth} elements per cycle, "
        f"{format_metric(sub.area_mm2, 'area_mm2')}; busy {100 * sub.busy_share:.0f} %, "
        f"utilisation {100 * sub.utilisation:.0f} %"
        for sub in design.hardware
    ]
    for metric in ("latency_cycles", "energy_j", "area_mm2"):
        value = getattr(design, metric)
        line = f"  {metric}: {format_metric(value, metric)} ({design.provenance})"
        limit = design.specs.get(metric)
        lines.append(line + (f", spec {format_metric(limit, metric)}" if limit else ""))
    if design.energy_gap is not None:
        lines.append(f"  schedule: within {100 * design.energy_gap:.2g} % of the least energy")
    result = {
        "run": str(run.path),
        "front": len(front),
        "chosen": msgspec.to_builtins(design),
        "timings_s": run.record.timings_s,
    }
    return result, "\n".join(lines), _COLUMNS, _rows(design)


def _rows(design: DesignRecord) -> list[tuple[str, ...]]:
    bars = sorted(design.schedule, key=lambda bar: (bar.start_cycles, bar.sub_accelerator))
    return [
        (
            bar.sub_accelerator,
            f"{bar.network}/{bar.layer}",
            f"{bar.start_cycles:.0f}",
            f"{bar.end_cycles:.0f}",
            f"{100 * bar.utilisation:.0f} %",
            format_metric(bar.energy_j, "energy_j"),
        )
        for bar in bars
    ]
