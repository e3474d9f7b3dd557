"""Which tiles are worth trying for a kernel on a processor, the likely ones first."""

from dataclasses import dataclass, fields, replace
from itertools import product
from math import prod

import numpy as np
import tvm
from tvm.target import codegen

from hwnas.tvm_worker.tuning.schedules import Loops, Order, Padding, Tile

__all__ = ["VectorUnit", "nearest", "neighbours", "tiles", "unlikeness", "vector_unit"]

_FLOAT_BITS = 32
_MOST_ROWS = 16
_MOST_STEPS = 64
_MOST_WRITTEN_OUT = 1200  # multiplications in the inner loop: more takes seconds to compile
_BANDS = (1, 2, 4, 7, 8, 14, 28)
_ORDERS: tuple[Order, ...] = ("columns in band", "columns first", "columns last")


@dataclass(frozen=True)
class VectorUnit:
    """What a target computes with.

    Args:
        lanes: Floats in a register.
        registers: Their number.
    """

    lanes: int
    registers: int


def vector_unit(target: tvm.target.Target) -> VectorUnit:
    """From the target's processor and attributes; x86-64 and aarch64 without any have 128 bits."""
    if codegen.target_has_features("avx512vl", target):
        return VectorUnit(16, 32)
    if codegen.target_has_features("avx", target):
        return VectorUnit(8, 16)
    triple = str(target.attrs.get("mtriple", ""))
    return VectorUnit(4, 32 if triple.startswith(("aarch64", "arm64")) else 16)


def tiles(loops: Loops, unit: VectorUnit) -> list[Tile]:
    """All tiles to choose from, by an estimate of how well they use the registers, best first."""
    made = _elementwise(loops, unit) if not loops.reductions else _contractions(loops, unit)
    return sorted(made, key=lambda tile: -_promise(tile, loops, unit))


def neighbours(tile: Tile, among: list[Tile]) -> list[Tile]:
    """Tiles that differ in one choice, or in rows and vectors."""
    names = [field.name for field in fields(Tile)]

    def differs(other: Tile) -> set[str]:
        return {name for name in names if getattr(tile, name) != getattr(other, name)}

    shape = {"rows", "vectors", "lanes"}
    return [t for t in among if t != tile and ((d := differs(t)) <= shape or len(d) == 1)]


def nearest(tile: Tile, among: list[Tile]) -> Tile:
    """The tile most like one that was good for another kernel."""

    def distance(other: Tile) -> float:
        sizes = [
            abs(np.log2(getattr(tile, name) / getattr(other, name)))
            for name in ("rows", "vectors", "lanes", "unroll", "band")
        ]
        kinds = [
            getattr(tile, name) != getattr(other, name) for name in ("order", "pad", "turned")
        ]
        return float(np.sum(sizes) + 2 * np.sum(kinds))

    return min(among, key=distance)


def unlikeness(loops: Loops, other: Loops) -> float:
    """How far apart two kernels are, as logarithms of their extents; infinite for other kinds."""
    if (loops.shared, loops.padded) != (other.shared, other.padded):
        return np.inf
    if bool(loops.reductions) != bool(other.reductions):
        return np.inf
    pairs = [
        (loops.columns, other.columns),
        (loops.rows, other.rows),
        (loops.bands, other.bands),
        (prod(loops.reductions), prod(other.reductions)),
    ]
    return float(sum(abs(np.log2(one / two)) for one, two in pairs))


def _contractions(loops: Loops, unit: VectorUnit) -> list[Tile]:
    found = []
    pads: tuple[Padding, ...] = ("condition", "copy") if loops.padded else ("condition",)
    bands = [b for b in _BANDS if loops.bands % b == 0] if loops.bands > 1 else [1]
    orders = _ORDERS if loops.bands > 1 else _ORDERS[1:]
    for lanes, rows in product(_lanes(loops.columns, unit), _divisors(loops.rows, _MOST_ROWS)):
        for vectors in _divisors(loops.columns // lanes, unit.registers):
            size = -(-lanes // unit.lanes) * vectors
            if rows * size + (size if loops.shared and rows > 1 else 0) >= unit.registers:
                continue
            for steps in _steps(loops.reductions):
                if steps * rows * vectors > _MOST_WRITTEN_OUT and steps > 1:
                    continue
                found += [
                    Tile(rows, vectors, lanes, steps, order, band, pad)
                    for order, band, pad in product(orders, bands, pads)
                ]
    return found


def _elementwise(loops: Loops, unit: VectorUnit) -> list[Tile]:
    rows = _divisors(loops.rows, _MOST_ROWS)
    plain = [
        Tile(row, 1, lanes, order=order)
        for lanes, row, order in product(
            _lanes(loops.columns, unit, most=2 * unit.lanes), rows, _ORDERS[1:]
        )
    ]
    return plain + [
        replace(tile, turned=True) for tile in plain if tile.rows in (4, 8, 16) and loops.rows > 1
    ]


def _promise(tile: Tile, loops: Loops, unit: VectorUnit) -> float:
    """Multiplications for each load, less what is known to cost; only the order matters."""
    registers = -(-tile.lanes // unit.lanes)
    full = tile.lanes / (registers * unit.lanes)
    sums = tile.rows * tile.vectors * registers
    if not loops.reductions:
        turned = 0.01 * (tile.order != "columns first")
        return float(full * (1 + 0.1 * np.log2(tile.rows)) - turned)
    if loops.shared:
        loads = tile.rows + tile.vectors * registers
        reuse = min(1.0, tile.rows * tile.vectors * registers / loads / 4)
        steps = 0.05 * abs(np.log2(tile.unroll) - 1)
    else:
        reuse = min(1.0, tile.rows / 4) - 0.1 * (sums > unit.registers // 2)
        steps = 0.05 * abs(np.log2(tile.unroll / 6))
    band = 0.02 * abs(np.log2(tile.band / min(loops.bands, 7)))
    order = 0.05 * _ORDERS.index(tile.order) + 0.1 * (tile.pad == "copy")
    return float(full**0.5 * min(1.0, sums / 8) + reuse - steps - band - order)


def _lanes(columns: int, unit: VectorUnit, most: int | None = None) -> list[int]:
    """Lengths of vectors: whole registers where they divide the columns, else what does."""
    most = most or unit.lanes
    whole = [n for n in (unit.lanes, unit.lanes // 2, most) if n >= 4 and columns % n == 0]
    return sorted(set(whole)) or _divisors(columns, most)[-1:]


def _steps(reductions: tuple[int, ...]) -> list[int]:
    """How many steps to write out: whole inner axes, or a few steps of a long one."""
    found, whole = {1}, 1
    for extent in reversed(reductions):
        found |= {whole * d for d in (2, 4, 8) if extent % d == 0 and whole * d <= _MOST_STEPS}
        whole *= extent
        if whole > _MOST_STEPS:
            break
        found.add(whole)
    return sorted(found)


def _divisors(number: int, limit: int) -> list[int]:
    return [d for d in range(1, min(number, limit) + 1) if number % d == 0]
