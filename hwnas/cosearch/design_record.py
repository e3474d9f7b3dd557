"""`chosen.json` of a co-search: the design that was handed over, with its schedule.

It holds what a page about the design needs: which layer runs where and when (a Gantt chart is
`schedule`, a row for each sub-accelerator), how busy each sub-accelerator is, what everything
costs and how each number was obtained. All costs are modelled.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from hwnas.accelerators.points import DATAFLOWS
from hwnas.cosearch.cost_tables import CostTables
from hwnas.cosearch.evaluator import ScheduledDesign
from hwnas.cosearch.specs import Specs
from hwnas.search.run_records import SCHEMA_VERSION, Option, Provenance, read_record, write_record
from hwnas.spaces import Architecture, Population

__all__ = [
    "DesignRecord",
    "NetworkRecord",
    "ScheduledLayer",
    "SubAcceleratorRecord",
    "describe_design",
    "network_record",
    "read_design",
    "write_design",
]

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Amount = Annotated[float, msgspec.Meta(ge=0.0)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record whose unknown fields are refused."""


class NetworkRecord(_Strict, frozen=True):
    """One network of the design.

    Args:
        label: Name of its space, with the place in front where one stands twice.
        space: Name of its space.
        architecture: Option indices.
        options: The same by decision name.
        weight: Of its error among all networks', a share of 1.
        score: What one minus the error is called, such as `accuracy` or `IoU`.
        validation_error: From 0 to 1; None where none was asked for, because no chip served the
            network.
        test_error: On images that nothing saw before; None where there are none.
        error_provenance: Where the validation error comes from.
    """

    label: str
    space: str
    architecture: list[Option]
    options: dict[str, Any]
    weight: Share
    score: str
    validation_error: Share | None
    test_error: Share | None
    error_provenance: Provenance


class SubAcceleratorRecord(_Strict, frozen=True):
    """One sub-accelerator of the chip.

    Args:
        name: `sub1`, `sub2` and so on; an absent one has no record.
        dataflow: Name, such as `dla`.
        pes: Processing elements.
        bandwidth: Elements per cycle between its shared buffer and its PEs.
        area_mm2: Its area.
        busy_cycles: Cycles in which it runs a layer.
        busy_share: The same as a share of the latency.
        utilisation: Multiply-accumulates over what its PEs could do in the whole latency.
    """

    name: str
    dataflow: str
    pes: Annotated[int, msgspec.Meta(ge=1)]
    bandwidth: Annotated[int, msgspec.Meta(ge=1)]
    area_mm2: Amount
    busy_cycles: Amount
    busy_share: Share
    utilisation: Share


class ScheduledLayer(_Strict, frozen=True):
    """One bar of the Gantt chart.

    Args:
        network: Label of its network.
        layer: `block/layer`.
        sub_accelerator: Name of the sub-accelerator that runs it.
        start_cycles: When it starts.
        end_cycles: When it ends.
        utilisation: Of the sub-accelerator's PEs while it runs; 0 for layers that only move data.
        energy_j: What it takes in J.
    """

    network: str
    layer: str
    sub_accelerator: str
    start_cycles: Amount
    end_cycles: Amount
    utilisation: Share
    energy_j: Amount


class DesignRecord(_Strict, frozen=True):
    """`chosen.json` of a co-search.

    Args:
        strategy: Who found it.
        technology: Profile of the costs.
        clock_hz: Of that profile.
        architecture: Option indices of networks and chip, as in `history.parquet`.
        networks: In the order of the spaces.
        hardware: Sub-accelerators that are there.
        schedule: Layers, network after network, in order.
        weighted_error: Sum of weight and validation error; None where none was asked for.
        latency_cycles: End of the last layer; None if the design cannot run, and so are the next
            two.
        latency_s: The same at the clock.
        energy_j: Of all layers.
        area_mm2: Of the chip.
        specs: Metric to upper limit.
        specs_met: Whether all are met.
        missed: Metric to cost over limit, for each spec that is not met; None if it cannot run.
        energy_gap: 1 - bound/energy: how much less energy another schedule of this design within
            the latency spec could take at most. 0 is proved to be optimal; None if no schedule
            keeps the spec.
        latency_gap: The same of the latency, where no schedule keeps the spec; None otherwise.
        provenance: Of latency, energy and area.
        kind: Tells the record from that of a search for a network alone.
        schema: Version of the run directory's format.
    """

    strategy: str
    technology: str
    clock_hz: float
    architecture: list[Option]
    networks: list[NetworkRecord]
    hardware: list[SubAcceleratorRecord]
    schedule: list[ScheduledLayer]
    weighted_error: Share | None
    latency_cycles: Amount | None
    latency_s: Amount | None
    energy_j: Amount | None
    area_mm2: Amount
    specs: dict[str, float]
    specs_met: bool
    missed: dict[str, float | None]
    energy_gap: float | None
    latency_gap: float | None
    provenance: Provenance = "modelled"
    kind: Literal["design"] = "design"
    schema: int = SCHEMA_VERSION


def write_design(path: Path, record: DesignRecord) -> None:
    """Replace `chosen.json`.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    write_record(path, record)


def read_design(path: Path) -> DesignRecord:
    """Read `chosen.json` of a co-search.

    Raises:
        RunError: It is missing, too large, malformed, of a search for a network alone, or of a
            newer hwnas.
    """
    return read_record(path, DesignRecord)


def describe_design(
    tables: CostTables,
    specs: Specs,
    row: Population,
    scheduled: ScheduledDesign,
    networks: list[NetworkRecord],
    strategy: str,
) -> DesignRecord:
    """The record of a design.

    Args:
        tables: Costs of layers on sub-accelerators.
        specs: What was asked for.
        row: The design, `(d,)`.
        scheduled: Its schedule.
        networks: Its networks.
        strategy: Who found it.
    """
    costs = np.array([[scheduled.latency_cycles, scheduled.energy_j, scheduled.area_mm2]])
    runs = math.isfinite(scheduled.latency_cycles)
    limits = {m: limit for m, limit in specs.limits().items() if math.isfinite(limit)}
    found = dict(zip(specs.limits(), costs[0].tolist(), strict=True))
    known = [n.validation_error for n in networks if n.validation_error is not None]
    weights = [network.weight for network in networks]
    within = scheduled.latency_cycles <= specs.latency_cycles
    clock_hz = tables.technology.clock_hz
    return DesignRecord(
        strategy=strategy,
        technology=tables.technology.name,
        clock_hz=clock_hz,
        architecture=row.tolist(),
        networks=networks,
        hardware=_hardware(tables, scheduled),
        schedule=_schedule(tables, row, scheduled),
        weighted_error=(
            sum(w * e for w, e in zip(weights, known, strict=True))
            if len(known) == len(networks)
            else None
        ),
        latency_cycles=scheduled.latency_cycles if runs else None,
        latency_s=scheduled.latency_cycles / clock_hz if runs else None,
        energy_j=scheduled.energy_j if runs else None,
        area_mm2=scheduled.area_mm2,
        specs=limits,
        specs_met=bool(specs.violation(costs)[0] <= 0.0),
        missed={
            metric: found[metric] / limit if math.isfinite(found[metric]) else None
            for metric, limit in limits.items()
            if not found[metric] <= limit
        },
        energy_gap=_gap(scheduled.energy_bound_j, scheduled.energy_j) if within else None,
        latency_gap=(
            _gap(scheduled.latency_bound_cycles, scheduled.latency_cycles)
            if runs and not within
            else None
        ),
    )


def network_record(
    tables: CostTables,
    task: int,
    row: Population,
    *,
    weight: float,
    score: str,
    validation_error: float | None,
    test_error: float | None,
    provenance: Provenance,
) -> NetworkRecord:
    """The record of one network of a design.

    Args:
        tables: Costs of layers on sub-accelerators, with the spaces.
        task: Which network.
        row: Its option indices, canonical, `(d of its space,)`.
        weight: Of its error.
        score: What one minus the error is called.
        validation_error: Its error, None where unknown.
        test_error: Its test error, None where there is none.
        provenance: Where the validation error comes from.
    """
    space = tables.programs[task].space
    architecture = Architecture(space.name, tuple(row.tolist()))
    return NetworkRecord(
        tables.labels[task],
        space.name,
        list(architecture.indices),
        space.options(architecture),
        weight,
        score,
        validation_error,
        test_error,
        provenance,
    )


def _gap(bound: float, reached: float) -> float:
    return max(0.0, 1.0 - bound / reached) if reached > 0.0 else 0.0


def _hardware(tables: CostTables, scheduled: ScheduledDesign) -> list[SubAcceleratorRecord]:
    records = []
    latency = scheduled.latency_cycles
    for sub, point in enumerate(scheduled.points.tolist()):
        if point < 0:
            continue
        layers = scheduled.layers[scheduled.assignment == sub]
        cycles = tables.cycles[layers, point]
        worked = float((cycles * tables.utilisation[layers, point]).sum())
        busy = float(cycles.sum())
        runs = math.isfinite(latency) and latency > 0.0
        records.append(
            SubAcceleratorRecord(
                f"sub{sub + 1}",
                DATAFLOWS[int(tables.points.dataflow[point])],
                int(tables.points.pes[point]),
                int(tables.points.bandwidth[point]),
                float(tables.area_mm2[point]),
                busy,
                min(1.0, busy / latency) if runs else 0.0,
                min(1.0, worked / latency) if runs else 0.0,
            )
        )
    return records


def _schedule(
    tables: CostTables, row: Population, scheduled: ScheduledDesign
) -> list[ScheduledLayer]:
    found = []
    parts = tables.joint.split(row[None])[:-1]
    for task, (program, part) in enumerate(zip(tables.programs, parts, strict=True)):
        for place, name in enumerate(program.names(part[0])):
            sub = int(scheduled.assignment[task, place])
            if sub < 0:
                continue
            layer = int(scheduled.layers[task, place])
            point = int(scheduled.points[sub])
            start = float(scheduled.start_cycles[task, place])
            found.append(
                ScheduledLayer(
                    tables.labels[task],
                    name,
                    f"sub{sub + 1}",
                    start,
                    start + float(tables.cycles[layer, point]),
                    min(1.0, float(tables.utilisation[layer, point])),
                    float(tables.energy_j[layer, point]),
                )
            )
    return found
