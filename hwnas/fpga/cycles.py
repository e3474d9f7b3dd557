"""Clock cycles of layers on the array, in closed form: exactly those of the simulated RTL.

A layer is cut into *passes*: `columns` tiles of output channels, for each of them `rows` tiles of
N pixels, for each of those `chunks` pieces of the sum. One pass reads `depth` words a side, one a
cycle. It lasts `max(depth, 2 N)` cycles, so that the results of the pass before have left, and the
next follows at once, because feeders fill the banks as fast as passes empty them:

    cycles = max(depth, N) + (passes - 1) max(depth, 2 N) + depth + 3 N + 23

The first term is the first block (or the first N parameters) being written, the last ones are the
last pass, the way through the array and the pipeline of the requantiser. Counted from the edge at
which `start` is seen to the edge after which the last result is there.

Grouped convolutions with fewer than N channels a group leave columns idle. Several groups can
share a pass then: their patches one behind the other in `depth`, their weights in columns of their
own with zeros elsewhere. That pays as long as a pass is shorter than 2 N; `plan_layers` takes the
number of groups that needs the fewest cycles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import TargetError
from hwnas.fpga.layers import ArrayLayer

__all__ = [
    "DEEPEST_PASS",
    "LARGEST_SIDE",
    "SMALLEST_SIDE",
    "LayerPlans",
    "plan_layers",
]

BANK_WORDS = 2048  # of `ADDRESS_BITS = 11`
MARGIN_WORDS = 32
DEEPEST_PASS = (BANK_WORDS - MARGIN_WORDS) // 2
"""Words: while one block is kept for many passes, the next must find room beside it."""
SMALLEST_SIDE, LARGEST_SIDE = 2, 16
PIPELINE_CYCLES = 23

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LayerPlans:
    """How layers are cut, as `(l, a)` arrays for l layers and a sides of the array.

    Args:
        packed: Groups that share a pass.
        columns: Tiles of output channels, all groups together.
        rows: Tiles of pixels.
        chunks: Pieces of each sum.
        depth: Words a pass reads a side.
        cycles: Of the whole layer.
    """

    packed: Integers
    columns: Integers
    rows: Integers
    chunks: Integers
    depth: Integers
    cycles: Integers


def plan_layers(layers: Sequence[ArrayLayer], sides: Sequence[int]) -> LayerPlans:
    """Plans with the fewest cycles, of every layer on an array of every side.

    Args:
        layers: l layers; none gives arrays of no row.
        sides: a values of N.

    Raises:
        TargetError: A side is not within 2 to 16.
    """
    if any(not SMALLEST_SIDE <= side <= LARGEST_SIDE for side in sides):
        raise TargetError(
            f"array sides {list(sides)}: each must be {SMALLEST_SIDE} to {LARGEST_SIDE}"
        )
    numbers = [(each.pixels, each.depth, each.channels, each.groups) for each in layers]
    table = np.array(numbers, dtype=np.int64).reshape(-1, 4, 1)
    pixels, depth, channels, groups = (table[:, column] for column in range(4))
    n = np.array(sides, dtype=np.int64).reshape(1, -1)
    best = _plan(pixels, depth, channels, groups, n, np.ones_like(pixels * n))
    for packed in range(2, max(sides, default=1) + 1):
        fits = (packed <= groups) & (packed * channels <= n) & (packed * depth <= DEEPEST_PASS)
        if fits.any():
            better = _plan(pixels, depth, channels, groups, n, np.full_like(best.packed, packed))
            best = _where(fits & (better.cycles < best.cycles), better, best)
    return best


def _plan(
    pixels: Integers,
    depth: Integers,
    channels: Integers,
    groups: Integers,
    n: Integers,
    packed: Integers,
) -> LayerPlans:
    """`packed` groups a pass; more than one only where they fit into a pass."""
    columns = _ceil(groups, packed) * _ceil(packed * channels, n)
    rows = _ceil(pixels, n)
    chunks = _ceil(packed * depth, np.int64(DEEPEST_PASS))
    words = _ceil(packed * depth, chunks)
    passes = columns * rows * chunks
    cycles = (
        np.maximum(words, n)
        + (passes - 1) * np.maximum(words, 2 * n)
        + words
        + 3 * n
        + PIPELINE_CYCLES
    )
    same = np.zeros_like(cycles)
    return LayerPlans(packed, columns, rows + same, chunks + same, words + same, cycles)


def _ceil(a: Integers, b: Integers | np.int64) -> Integers:
    return -(-a // b)


def _where(which: npt.NDArray[np.bool_], a: LayerPlans, b: LayerPlans) -> LayerPlans:
    fields = (np.where(which, value, vars(b)[name]) for name, value in vars(a).items())
    return LayerPlans(*fields)
