"""Schedules of fused kernels: a register tile of the output, its reduction inside.

A kernel is a chain of TVM blocks: elementwise ones and padding, at most one reduction, elementwise
ones again. A tile of `rows x vectors x lanes` values of the output is summed in registers over the
whole reduction and goes through what follows the reduction (bias, activation, residual) before it
is stored, as in the inner kernels of BLIS (Van Zee and van de Geijn, ACM TOMS 41(3), 2015). With
channels innermost that one form serves convolutions of any kernel and group, matrix products and
pooling: the vector runs over output channels, the rows over places of the map.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import msgspec
import tvm
from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

__all__ = [
    "MARK",
    "Loops",
    "Order",
    "Padding",
    "Tile",
    "apply_tile",
    "loops_of",
    "new_schedule",
    "tile_of",
]

MARK = "hwnas.tile"
"""Annotation that says, in a record, which tile its trace makes."""

Padding = Literal["condition", "copy"]
Order = Literal["columns first", "columns in band", "columns last"]
_REDUCTION = 2  # IterVar.CommReduce
_SPATIAL = 0  # IterVar.DataPar


@dataclass(frozen=True)
class Loops:
    """What the choice of a tile depends on.

    Args:
        columns: Extent of the innermost axis of the output, along which vectors run.
        rows: Extent of the axis before it, unit axes left out.
        bands: Extent of the axis before that.
        reductions: Extents of the reduction, units left out; empty for elementwise kernels.
        shared: Whether what the reduction sums is read by several columns (a matrix product), as
            opposed to one column each (depthwise, pooling).
        padded: Whether an operand is padded.
    """

    columns: int
    rows: int
    bands: int
    reductions: tuple[int, ...]
    shared: bool
    padded: bool


@dataclass(frozen=True)
class Tile:
    """One schedule.

    Args:
        rows: Rows of the tile; divides the kernel's.
        vectors: Vectors side by side in each row.
        lanes: Numbers in a vector; `vectors * lanes` divides the kernel's columns.
        unroll: Steps of the reduction that are written out.
        order: Where the loop over column tiles stands among those over places.
        band: Rows of rows between which column tiles and padding are done again.
        pad: Whether padding is a condition in the sum or a copy of each band.
        turned: In elementwise kernels, whether vectors run over rows instead, which suits
            transposition.
    """

    rows: int
    vectors: int
    lanes: int
    unroll: int = 1
    order: Order = "columns first"
    band: int = 1
    pad: Padding = "condition"
    turned: bool = False


def new_schedule(function: tirx.PrimFunc) -> s_tir.Schedule:
    """An empty schedule of one kernel, under the name `main`.

    TVM schedules in place what it takes to be held by nobody else, and overlooks functions that
    share their body: hence the copy.
    """
    own = s_tir.renew_defs(function).with_attr("global_symbol", "main")
    return s_tir.Schedule(tvm.IRModule({"main": own}))


def loops_of(function: tirx.PrimFunc) -> Loops | None:
    """Facts about a kernel; None where no tile serves.

    That is so with several reductions (softmax, normalisation), several results, and one column.
    """
    schedule = new_schedule(function)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    reductions = [block for block in blocks if _is_reduction(schedule, block)]
    if not blocks or len(reductions) > 1:
        return None
    written = [region.source for block in blocks for region in schedule.get(block).writes]
    inside = schedule.get(schedule.get_sblock("root")).alloc_buffers
    if sum(not any(one.same_as(other) for other in inside) for one in written) != 1:
        return None
    extents = _extents(schedule, blocks[-1], _SPATIAL)
    if not extents:
        return None
    places = [extent for extent in extents[:-1] if extent > 1]
    summed = _extents(schedule, reductions[0], _REDUCTION) if reductions else []
    shared = bool(reductions) and _shares_operand(schedule.get(reductions[0]))
    if reductions and extents[-1] == 1:
        return None
    return Loops(
        columns=extents[-1],
        rows=places[-1] if places else 1,
        bands=places[-2] if len(places) > 1 else 1,
        reductions=tuple(extent for extent in summed if extent > 1),
        shared=shared,
        padded=bool(reductions) and any(_is_padding(schedule, block) for block in blocks),
    )


def tile_of(trace: s_tir.Trace) -> Tile | None:
    """The tile that a recorded trace makes, None for traces of other origin."""
    for instruction in trace.insts:
        if instruction.kind.name == "Annotate" and str(instruction.attrs[0]) == MARK:
            choices = dict(each.split("=") for each in str(instruction.inputs[1]).split(";"))
            return msgspec.convert(choices, Tile, strict=False)
    return None


def apply_tile(schedule: s_tir.Schedule, tile: Tile) -> None:
    """Schedule a kernel for which `loops_of` found something.

    Raises:
        tvm.s_tir.ScheduleError: The tile does not fit the kernel.
    """
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    choices = ";".join(f"{name}={value}" for name, value in asdict(tile).items())
    schedule.annotate(blocks[-1], MARK, choices)
    where = [index for index, block in enumerate(blocks) if _is_reduction(schedule, block)]
    if where:
        _sum_in_registers(schedule, blocks, where[0], tile)
    else:
        for block in blocks[:-1]:
            schedule.compute_inline(block)
        _map_vectors(schedule, blocks[-1], tile)


def _map_vectors(schedule: s_tir.Schedule, block: SBlockRV, tile: Tile) -> None:
    """Elementwise: `rows x lanes` values at a time."""
    loops = schedule.get_loops(block)
    extents = [int(schedule.get(loop).extent) for loop in loops]
    places = [index for index in range(len(loops) - 1) if extents[index] > 1]
    columns, lanes = schedule.split(loops[-1], [None, tile.lanes])
    if not places:
        schedule.vectorize(lanes)
        return
    rows, inside = schedule.split(loops[places[-1]], [None, tile.rows])
    units = [loops[index] for index in range(len(loops) - 1) if extents[index] == 1]
    outer = [loops[index] for index in places[:-1]]
    first, last = (lanes, inside) if tile.turned else (inside, lanes)
    around = [columns, rows] if tile.order == "columns first" else [rows, columns]
    schedule.reorder(*units, *outer, *around, first, last)
    schedule.vectorize(last)
    schedule.unroll(first)


def _sum_in_registers(
    schedule: s_tir.Schedule, blocks: list[SBlockRV], where: int, tile: Tile
) -> None:
    total, copied = blocks[where], []
    for block in blocks[:where]:
        if tile.pad == "copy" and _is_padding(schedule, block):
            copied.append(block)
        else:
            schedule.compute_inline(block)
    if where == len(blocks) - 1:
        stored = schedule.cache_write(total, 0, "local")
    else:
        for block in blocks[where + 1 : -1]:
            schedule.compute_inline(block)
        stored = blocks[-1]
        schedule.set_scope(total, 0, "local")
    depth, innermost, start_of_band, inner = _tile_output(schedule, stored, tile)
    schedule.compute_at(total, innermost, preserve_unit_loops=True)
    _tile_reduction(schedule, total, depth, tile)
    for loop in inner[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(inner[-1])
    for block in copied:
        schedule.compute_at(block, start_of_band, preserve_unit_loops=True)
        last = schedule.get_loops(block)[-1]
        lanes = _largest_divisor(int(schedule.get(last).extent), tile.lanes)
        schedule.vectorize(schedule.split(last, [None, lanes])[1])


def _tile_output(
    schedule: s_tir.Schedule, stored: SBlockRV, tile: Tile
) -> tuple[int, LoopRV, LoopRV, list[LoopRV]]:
    """Number of loops around a tile, the innermost of them, the one of a band, those inside."""
    loops = schedule.get_loops(stored)
    extents = [int(schedule.get(loop).extent) for loop in loops]
    places = [loops[index] for index in range(len(loops) - 1) if extents[index] > 1]
    units = [loops[index] for index in range(len(loops) - 1) if extents[index] == 1]
    columns, *inner = schedule.split(loops[-1], [None, tile.vectors, tile.lanes])
    tail: list[LoopRV] = []
    if places:
        rows, inside = schedule.split(places.pop(), [None, tile.rows])
        tail.append(rows)
        inner.insert(0, inside)
    if places and tile.band > 1:
        bands, in_band = schedule.split(places.pop(), [None, tile.band])
        places.append(bands)
        tail.insert(0, in_band)
    if tile.order == "columns first":
        outer, start = [columns, *places, *tail], [columns, *places][-1]
    elif tile.order == "columns in band":
        outer, start = [*places, columns, *tail], columns
    else:
        outer = [*places, *tail, columns]
        start = places[-1] if places else outer[0]
    schedule.reorder(*units, *outer, *inner)
    return len(units) + len(outer), outer[-1], start, inner


def _tile_reduction(schedule: s_tir.Schedule, total: SBlockRV, depth: int, tile: Tile) -> None:
    """Inside a tile: reduction loops around, rows and vectors written out."""
    axes = schedule.get(total).iter_vars
    loops = schedule.get_loops(total)[depth:]
    kinds = [int(axis.iter_type) for axis in axes]
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _SPATIAL]
    summed = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCTION]
    spatial[-1:] = schedule.split(spatial[-1], [None, tile.lanes])
    left = tile.unroll
    looped: list[LoopRV] = []
    written_out: list[LoopRV] = []
    for loop in reversed(summed):
        extent = int(schedule.get(loop).extent)
        steps = _largest_divisor(extent, left)
        if steps == extent:
            written_out.insert(0, loop)
        elif steps > 1:
            outside, inside = schedule.split(loop, [None, steps])
            looped.insert(0, outside)
            written_out.insert(0, inside)
        else:
            looped.insert(0, loop)
        left = left // extent if steps == extent else 1
    schedule.reorder(*looped, *written_out, *spatial)
    schedule.vectorize(spatial[-1])
    for loop in [*written_out, *spatial[:-1]]:
        schedule.unroll(loop)
    zeroed = schedule.decompose_reduction(total, [*looped, *written_out][0])
    *rest, last = schedule.get_loops(zeroed)[depth:]
    schedule.vectorize(last)
    for loop in rest:
        schedule.unroll(loop)


def _extents(schedule: s_tir.Schedule, block: SBlockRV, kind: int) -> list[int]:
    """Extents of a block's axes of one kind."""
    axes = zip(schedule.get(block).iter_vars, schedule.get_loops(block), strict=True)
    return [int(schedule.get(loop).extent) for axis, loop in axes if int(axis.iter_type) == kind]


def _is_reduction(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    return any(int(axis.iter_type) == _REDUCTION for axis in schedule.get(block).iter_vars)


def _is_padding(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether a block only chooses between a value and a constant."""
    body = schedule.get(block).body
    value = body.value if isinstance(body, tirx.BufferStore) else None
    return isinstance(value, tvm.ir.Call) and value.op.name.endswith(".if_then_else")


def _shares_operand(block: s_tir.SBlock) -> bool:
    """Whether an operand is the same for all columns of the output."""
    column = [axis.var for axis in block.iter_vars if int(axis.iter_type) == _SPATIAL][-1]
    return any(
        not any(
            column.same_as(variable)
            for index in region.region
            for variable in tirx.analysis.undefined_vars(index.min)
        )
        for region in block.reads
    )


def _largest_divisor(number: int, limit: int) -> int:
    """Largest divisor of a number up to a limit; 1 for limits below 2."""
    return max((d for d in range(1, min(number, limit) + 1) if number % d == 0), default=1)
