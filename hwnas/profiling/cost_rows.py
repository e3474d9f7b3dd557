"""Estimates as rows of the cost table."""

from datetime import UTC, datetime

from hwnas.costs import Cost, Provenance, Source, modelled_energy_j
from hwnas.graph import GraphCounts
from hwnas.profiling.estimate import Estimate
from hwnas.targets import Target

__all__ = ["cost_row", "kernel_source", "modelled_energy_rows", "timestamp"]


def cost_row(
    key: str,
    source: Source,
    metric: str,
    estimate: Estimate,
    provenance: Provenance,
    taken: str,
) -> Cost:
    """A row; the arguments are those of `Cost`."""
    return Cost(
        key,
        source.fingerprint,
        source.runtime,
        metric,
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.spread,
        estimate.repeats,
        estimate.outliers,
        provenance,
        taken,
    )


def modelled_energy_rows(
    key: str, source: Source, counts: GraphCounts, target: Target, taken: str
) -> list[Cost]:
    """Energy from operations and bytes by the target's constants; no row if it has none."""
    if target.energy.source == "nvml":
        return []
    value = modelled_energy_j(counts, target.energy)
    estimate = Estimate(value, value, value, 0.0, 0, 0)
    return [cost_row(key, source, "energy_j", estimate, "modelled", taken)]


def kernel_source(source: Source) -> Source:
    """Where rows stand of kernels that were timed inside one network, on a target of blocks.

    They are marked apart, because hwnas's measuring protocol had no part in them.
    """
    return Source(source.fingerprint, f"{source.runtime} kernels")


def timestamp() -> str:
    """Now, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
