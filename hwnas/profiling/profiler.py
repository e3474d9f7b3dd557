"""Fill the cost table for a space: every distinct block, however its backend gives costs."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np

from hwnas.backends import (
    Backend,
    BlockBackend,
    KernelBackend,
    ModellingBackend,
    TuningBudget,
    get_backend,
)
from hwnas.costs import (
    Cost,
    CostTable,
    Provenance,
    Source,
)
from hwnas.errors import MeasurementError, TargetError
from hwnas.graph import Graph, Kernel
from hwnas.profiling.block_bench import BlockBench
from hwnas.profiling.cost_rows import cost_row, timestamp
from hwnas.profiling.energy_meter import counts_energy
from hwnas.profiling.estimate import Estimate
from hwnas.profiling.kernel_profile import KernelProfile
from hwnas.profiling.protocol import Protocol
from hwnas.profiling.units import describe_kernel, units_of
from hwnas.progress import Progress, silent
from hwnas.spaces import SearchSpace
from hwnas.targets import Target

__all__ = ["ProfileSummary", "backend_for", "modelled_rows", "profile_space", "source_of"]


@dataclass(frozen=True)
class ProfileSummary:
    """What a profile did.

    Args:
        units: Distinct blocks of the space.
        measured: Rows written now.
        seconds: Wall time.
        median_relative_spread: Median over blocks of spread relative to the median; NaN if none.
        worst_relative_interval: Largest interval relative to its median; NaN if none.
        weak: Blocks whose interval stayed above what was asked.
        slowed_by: What kept the device's clocks low, with the share of readings.
    """

    units: int
    measured: int
    seconds: float
    median_relative_spread: float
    worst_relative_interval: float
    weak: int
    slowed_by: Mapping[str, float] = field(default_factory=dict)


def source_of(target: Target, backend: Backend) -> Source:
    """How rows of this target and backend are marked."""
    return Source(target.fingerprint, backend.runtime(target))


def backend_for(target: Target, table: CostTable | None) -> Backend:
    """The backend of a target, with the tuning records that lie beside a table.

    Raises:
        TargetError: No installed backend has the name that the target's file gives.
    """
    backend = get_backend(target)
    if table is not None and isinstance(backend, KernelBackend):
        return backend.with_tuning(table.tuning_folder(target.fingerprint))
    return backend


def profile_space(
    space: SearchSpace,
    target: Target,
    table: CostTable,
    *,
    protocol: Protocol | None = None,
    tuning: TuningBudget | None = None,
    rng: np.random.Generator,
    progress: Progress = silent,
) -> ProfileSummary:
    """Measure or compute the cost of every distinct block; what the table has is not done again.

    Args:
        space: The space.
        target: The device.
        table: Where rows go; tuning records go beside it.
        protocol: How to measure.
        tuning: How much tuning may take, on targets whose kernels are tuned.
        rng: Draws what is measured with what.
        progress: Called with a line of text and the share done.

    Raises:
        TargetError: The target does not work on this machine.
        MeasurementError: A block cannot be measured.
        TableError: The table cannot be written.
    """
    begin = time.monotonic()
    backend = backend_for(target, table)
    available = backend.is_available(target)
    if not available.works:
        raise TargetError(
            f"target {target.name!r} does not work here: {available.reason}; {available.remedy}"
        )
    source = source_of(target, backend)
    table.put_target(source.fingerprint, target.name, msgspec.json.encode(target).decode())
    units = units_of(space)
    known = set(table.lookup(source, "latency_s"))
    if isinstance(backend, BlockBackend | KernelBackend) and counts_energy(target):
        known &= set(table.lookup(source, "energy_j"))
    missing = {key: unit for key, unit in units.items() if key not in known}
    if isinstance(backend, ModellingBackend):
        graphs = {key: unit.fragment.graph for key, unit in missing.items()}
        table.put(*modelled_rows(graphs, target, backend, source))
        return ProfileSummary(len(units), len(missing), time.monotonic() - begin, 0.0, 0.0, 0)
    settings = protocol or Protocol()
    wanted = missing or not table.networks(space.name)
    slowed_by: Mapping[str, float] = {}
    if isinstance(backend, KernelBackend):
        if wanted:
            profile = KernelProfile(space, target, backend, source, table, settings, rng)
            profile.run(missing, tuning or TuningBudget(), progress)
    elif isinstance(backend, BlockBackend):
        if wanted:
            bench = BlockBench(space, units, target, backend, source, table, settings, rng)
            bench.run(missing, progress)
            slowed_by = bench.watch.slowed_by()
    else:
        raise TargetError(f"backend {backend.name!r} measures neither blocks nor kernels")
    rows_by_key = table.lookup(source, "latency_s")
    uncut = [key for key in missing if key not in rows_by_key]
    if uncut:
        block, _ = missing[uncut[0]].occurrences[0]
        raise MeasurementError(
            f"{len(uncut)} blocks of {space.name} could not be cut out of a compiled network, "
            f"{space.blocks[block].name!r} first: the runtime fuses them with their neighbours; "
            "make the block larger in the space"
        )
    done = [rows_by_key[key] for key in missing]
    intervals = [(row.high - row.low) / (2.0 * row.value) for row in done if row.value]
    spreads = [row.spread / row.value for row in done if row.value]
    return ProfileSummary(
        len(units),
        len(missing),
        time.monotonic() - begin,
        float(np.median(spreads)) if spreads else float("nan"),
        max(intervals, default=float("nan")),
        sum(interval > settings.interval for interval in intervals),
        slowed_by,
    )


def modelled_rows(
    graphs: Mapping[str, Graph], target: Target, backend: ModellingBackend, source: Source
) -> tuple[list[Cost], list[Kernel]]:
    """Costs that a backend computes, and what they are of, as a table takes them.

    Args:
        graphs: By key.
        target: The device.
        backend: Its backend.
        source: How rows are marked.
    """
    rows, kernels = [], []
    taken = timestamp()
    provenance: Provenance = "simulated" if backend.provenance == "simulated" else "modelled"
    for key, graph in graphs.items():
        kernels.append(describe_kernel(key, graph))
        for metric, value in backend.kernel_costs(graph, target).items():
            estimate = Estimate(value, value, value, 0.0, 0, 0)
            rows.append(cost_row(key, source, metric, estimate, provenance, taken))
    return rows, kernels
