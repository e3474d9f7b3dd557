"""`cells-digits` and `cells-digits-free`: small cell spaces for 1x32x32 images.

Both have a stem of two convolutions of stride 2 and three cells of three nodes: normal at 16
channels and a side of 8, reduction to 32 channels and a side of 4, normal. A search that evaluates
all operations of all edges has 108 of them in `cells-digits`, hence the small sides.

`cells-digits` chooses as DARTS does (Liu et al., ICLR 2019), among four operations.
`cells-digits-free` chooses as GOLD-NAS does (Bi et al., GOLD-NAS: Gradual, One-Level,
Differentiable, 2020): every cell by itself, and every edge keeps any subset of two operations.
There a node without any operation passes on node 0. In a normal cell that is the same network as a
skip on edge 0 alone, so a few networks are counted twice.
"""

from hwnas.spaces.cell_operations import AVERAGE_POOL_3X3, DILATED_3X3, SEPARABLE_3X3, SKIP_CONNECT
from hwnas.spaces.cells import Cell, CellLayout, CellSpace, Kind, cell_blocks, cell_sequence

__all__ = ["cells_digits", "cells_digits_free"]

KINDS: tuple[Kind, ...] = ("normal", "reduction", "normal")
WIDTH = 16
NODES = 3
STEM_WIDTHS = (16, 16)
STEM_STRIDE = 2
CLASSES = 10


def cells_digits(resolution: int = 32) -> CellSpace:
    """The space; `resolution` is the side of the square input in pixels."""
    operations = (AVERAGE_POOL_3X3, SKIP_CONNECT, DILATED_3X3, SEPARABLE_3X3)
    return _space(
        "cells-digits",
        CellLayout(_cells(resolution), operations, NODES),
        resolution,
        "DARTS's cells on 1x32x32 images: 3 cells of 3 nodes, four operations",
    )


def cells_digits_free(resolution: int = 32) -> CellSpace:
    """The space; `resolution` is the side of the square input in pixels."""
    operations = (SKIP_CONNECT, SEPARABLE_3X3)
    return _space(
        "cells-digits-free",
        CellLayout(_cells(resolution), operations, NODES, edges="subsets", is_shared=False),
        resolution,
        "GOLD-NAS's cells on 1x32x32 images: 3 cells of 3 nodes, any subset of two operations",
    )


def _cells(resolution: int) -> tuple[Cell, ...]:
    side = resolution
    for _ in STEM_WIDTHS:
        side = -(-side // STEM_STRIDE)
    return cell_sequence(KINDS, width=WIDTH, side=side)


def _space(stem: str, layout: CellLayout, resolution: int, description: str) -> CellSpace:
    blocks = cell_blocks(
        layout,
        channels=1,
        resolution=resolution,
        classes=CLASSES,
        stem_widths=STEM_WIDTHS,
        stem_stride=STEM_STRIDE,
    )
    name = stem if resolution == 32 else f"{stem}@{resolution}"
    return CellSpace(name, layout, blocks, description)
