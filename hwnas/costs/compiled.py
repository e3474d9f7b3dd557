"""A space and a cost table, compiled into a dense table of slots.

Every choice block becomes a row of slots indexed by the block's own decisions; the cost of an
architecture is a gather and a sum (a maximum for memory), in C++ for whole populations.
Calibration is folded into the slots, so it costs nothing.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from hwnas import _core
from hwnas.costs.calibration import Calibration, fit_calibration
from hwnas.costs.table import Cost, CostTable, Provenance, Source
from hwnas.errors import SpaceError, TableError
from hwnas.graph import Graph, peak_activation_bytes, shape_of
from hwnas.graph.counts import BYTES_PER_ELEMENT
from hwnas.spaces import Fragment, Population, SearchSpace

__all__ = [
    "CompiledCosts",
    "CostColumn",
    "assemble_costs",
    "compile_costs",
    "count_column",
    "fragments_by_slot",
    "weakest",
]

MEMORY = "memory_bytes"


@dataclass(frozen=True, eq=False)
class CompiledCosts:
    """Costs of every architecture of a space on one target.

    Args:
        space: The space.
        source: Target and runtime.
        metrics: Names of the m metrics.
        provenance: Where each metric's numbers come from.
        calibration: What was folded into each metric.
        slots: Per block `(slots, m)`, calibrated, in SI units.
        constant: `(m,)`.
    """

    space: SearchSpace
    source: Source
    metrics: tuple[str, ...]
    provenance: tuple[Provenance, ...]
    calibration: tuple[Calibration, ...]
    slots: tuple[npt.NDArray[np.float64], ...]
    constant: npt.NDArray[np.float64]

    @property
    def reductions(self) -> tuple[str, ...]:
        """How each metric's slots make a network's cost: `sum`, or `max` for memory."""
        return tuple("max" if metric == MEMORY else "sum" for metric in self.metrics)

    @cached_property
    def table(self) -> _core.SlotTable:
        """The native table."""
        columns = [list(self.space.columns_of(b)) for b in range(len(self.space.blocks))]
        return _core.SlotTable(
            self.space.option_counts, columns, list(self.slots), self.constant, self.reductions
        )

    def cost(
        self,
        population: Population,
        out: npt.NDArray[np.float32] | None = None,
        threads: int = 1,
    ) -> npt.NDArray[np.float32]:
        """Costs of a population, `(n, m)` in SI units, exact to 1e-6 of the sum of slots.

        Args:
            population: `(n, d)` option indices, C-contiguous `uint8`.
            out: Where to write; a new array by default. Reusing one saves the page faults.
            threads: Threads to use; the result does not depend on it.

        Raises:
            SpaceError: An option index is out of range; the row and decision are named.
            TypeError: Wrong type, shape or memory order.
        """
        if out is None:
            out = np.empty((len(population), len(self.metrics)), dtype=np.float32)
        try:
            self.table.cost(population, out, threads)
        except ValueError as error:
            raise SpaceError(f"population of {self.space.name}: {error}") from error
        return out


def compile_costs(
    space: SearchSpace,
    table: CostTable,
    source: Source,
    metrics: Sequence[str] = ("latency_s", "energy_j", MEMORY),
    *,
    optional: Collection[str] = (),
    memory_scale: float = 1.0,
) -> CompiledCosts:
    """Compile a space against the rows of one target.

    `memory_bytes` needs no row: it is the peak of live activations, counted from shapes. Where a
    block can choose among the results of several earlier ones it is an upper bound: what may still
    be read counts as live.

    Args:
        space: The space.
        table: The rows.
        source: Target and runtime.
        metrics: What to compile.
        optional: Metrics that are left out where the table has no row of them at all: energy, on
            devices where nothing counts it.
        memory_scale: Factor on the counted bytes, for batches and other precisions than float32.

    Raises:
        TableError: A block of the space has no row; how many, and what to run, is said.
    """
    fragments = fragments_by_slot(space)
    known = [m for m in metrics if m not in optional or any(table.rows(source, m))]
    columns = [
        _memory_column(space, fragments, memory_scale)
        if metric == MEMORY
        else _table_column(space, table, source, metric, fragments)
        for metric in known
    ]
    return assemble_costs(space, source, known, columns)


@dataclass(frozen=True, eq=False)
class CostColumn:
    """One metric of all blocks.

    Args:
        slots: Per block `(slots,)`, calibrated but for the constant, in the metric's SI unit.
        provenance: Where the numbers come from.
        calibration: What was folded in; its constant is still to be added.
    """

    slots: tuple[npt.NDArray[np.float64], ...]
    provenance: Provenance
    calibration: Calibration


def fragments_by_slot(space: SearchSpace) -> list[list[Fragment]]:
    """Per block the fragment of each slot; equal fragments are one object."""
    return [
        [space.fragment(block, choice) for choice in space.slots(block)]
        for block in range(len(space.blocks))
    ]


def count_column(
    fragments: Sequence[Sequence[Fragment]], count: Callable[[Graph], float]
) -> CostColumn:
    """A metric that is counted from the graph of each fragment, with provenance `modelled`."""
    graphs = {fragment.key: fragment.graph for row in fragments for fragment in row}
    counted = {key: float(count(graph)) for key, graph in graphs.items()}
    slots = tuple(np.array([counted[fragment.key] for fragment in row]) for row in fragments)
    return CostColumn(slots, "modelled", Calibration())


def assemble_costs(
    space: SearchSpace, source: Source, metrics: Sequence[str], columns: Sequence[CostColumn]
) -> CompiledCosts:
    """Compiled costs of the given columns, one a metric."""
    slots = tuple(
        np.stack([column.slots[block] for column in columns], axis=1)
        for block in range(len(space.blocks))
    )
    return CompiledCosts(
        space,
        source,
        tuple(metrics),
        tuple(column.provenance for column in columns),
        tuple(column.calibration for column in columns),
        slots,
        np.array([column.calibration.constant for column in columns]),
    )


def _memory_column(
    space: SearchSpace, fragments: Sequence[Sequence[Fragment]], scale: float
) -> CostColumn:
    """Peaks of the blocks, beside the results of earlier blocks that later ones may read.

    What a block's own decisions leave open about such a result is taken at its largest. A block
    that hands its input through needs nothing: what is alive then is alive before and after it.
    """
    last_reader = {
        name: block for block in range(len(fragments)) for name in space.inputs_of(block)
    }
    peaks: dict[tuple[int, tuple[int, ...], int], float] = {}
    results = [_results(space, block, row) for block, row in enumerate(fragments)]
    slots = []
    for block, row in enumerate(fragments):
        inputs = space.inputs_of(block)
        kept = tuple(i for i, name in enumerate(inputs) if last_reader[name] > block)
        held = [
            earlier
            for earlier in range(block)
            if space.blocks[earlier].name not in inputs
            and last_reader.get(space.blocks[earlier].name, -1) > block
        ]
        alive = {*inputs, *(space.blocks[earlier].name for earlier in held)}
        costs = []
        for choice, fragment in zip(space.slots(block), row, strict=True):
            if fragment.is_empty and inputs:
                costs.append(0.0)
                continue
            known = dict(zip(space.columns_of(block), choice, strict=True))
            beside = sum(results[earlier].largest(known, alive) for earlier in held)
            which = (id(fragment), kept, beside)
            if which not in peaks:
                still = [fragment.graph.inputs[i] for i in kept]
                peaks[which] = float(peak_activation_bytes(fragment.graph, still) + beside)
            costs.append(scale * peaks[which])
        slots.append(np.array(costs))
    return CostColumn(tuple(slots), "modelled", Calibration())


@dataclass(frozen=True, eq=False)
class _Results:
    """Bytes of a block's result for each of its choices, one axis a column.

    Args:
        columns: Columns of the decisions that shape the block.
        own: Where the block computes its result, else 0.
        handed: Where the block hands its first input through, else 0.
        source: Name of that input; empty for a block without inputs.
    """

    columns: tuple[int, ...]
    own: npt.NDArray[np.int64]
    handed: npt.NDArray[np.int64]
    source: str

    def largest(self, known: Mapping[int, int], alive: Collection[str]) -> int:
        """Bytes at most, given options by column and the names of results that count already."""
        sizes = self.own if self.source in alive else self.own + self.handed
        return int(sizes[tuple(known.get(column, slice(None)) for column in self.columns)].max())


def _results(space: SearchSpace, block: int, row: Sequence[Fragment]) -> _Results:
    columns, inputs = space.columns_of(block), space.inputs_of(block)
    sizes = np.array(
        [BYTES_PER_ELEMENT * prod(shape_of(fragment.graph.outputs[0])) for fragment in row]
    )
    passed = np.array([fragment.is_empty and bool(inputs) for fragment in row])
    shape = tuple(int(space.option_counts[column]) for column in columns)
    return _Results(
        columns,
        np.where(passed, 0, sizes).reshape(shape),
        np.where(passed, sizes, 0).reshape(shape),
        inputs[0] if inputs else "",
    )


def _table_column(
    space: SearchSpace,
    table: CostTable,
    source: Source,
    metric: str,
    fragments: list[list[Fragment]],
) -> CostColumn:
    rows = table.lookup(source, metric)
    _check_complete(space, source, metric, fragments, rows)
    fitted = _calibration(space, table, rows)

    def cost(fragment: Fragment) -> float:
        if fragment.is_empty:
            return 0.0
        return fitted.slope * rows[fragment.key].value + fitted.per_kernel

    slots = tuple(np.array([cost(f) for f in row]) for row in fragments)
    used = {rows[f.key].provenance for row in fragments for f in row if not f.is_empty}
    return CostColumn(slots, weakest(used), fitted)


def _check_complete(
    space: SearchSpace,
    source: Source,
    metric: str,
    fragments: list[list[Fragment]],
    rows: dict[str, Cost],
) -> None:
    needed = {f.key for row in fragments for f in row if not f.is_empty}
    missing = needed - set(rows)
    if missing:
        raise TableError(
            f"{len(missing)} of {len(needed)} blocks of {space.name} have no {metric} for "
            f"{source.runtime}: run `hwnas profile --space {space.name}` for this target first"
        )


def _calibration(space: SearchSpace, table: CostTable, rows: dict[str, Cost]) -> Calibration:
    """Fit on the whole networks of the space that the table has for this metric."""
    sums, kernels, totals = [], [], []
    for indices, key in table.networks(space.name).items():
        if key not in rows or len(indices) != len(space.decisions):
            continue
        parts = []
        for block in range(len(space.blocks)):
            choice = tuple(indices[column] for column in space.columns_of(block))
            fragment = space.fragment(block, choice)
            if not fragment.is_empty:
                parts.append(rows[fragment.key].value)
        sums.append(sum(parts))
        kernels.append(float(len(parts)))
        totals.append(rows[key].value)
    return fit_calibration(np.array(sums), np.array(kernels), np.array(totals))


def weakest(found: Collection[Provenance]) -> Provenance:
    """Where a sum comes from: what is least sure of its parts; `modelled` for none."""
    order: tuple[Provenance, ...] = ("simulated", "modelled", "published", "measured")
    return next((p for p in order if p in found), "modelled")
