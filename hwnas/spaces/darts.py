"""`darts`: the cell space of DARTS for CIFAR-10.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 3.1.1: one normal and one
reduction cell of four nodes, two edges a node, seven operations; the search network has 8 cells,
16 channels in the first, and reduction cells at a third and two thirds of its depth.
"""

from hwnas.spaces.cell_operations import (
    AVERAGE_POOL_3X3,
    DILATED_3X3,
    DILATED_5X5,
    MAX_POOL_3X3,
    SEPARABLE_3X3,
    SEPARABLE_5X5,
    SKIP_CONNECT,
)
from hwnas.spaces.cells import CellLayout, CellSpace, Kind, cell_blocks, cell_sequence

__all__ = ["darts"]

CELLS = 8
REDUCTIONS = (CELLS // 3, 2 * CELLS // 3)
NODES = 4
WIDTH = 16
STEM_WIDTHS = (3 * WIDTH,)
CLASSES = 10
OPERATIONS = (
    MAX_POOL_3X3,
    AVERAGE_POOL_3X3,
    SKIP_CONNECT,
    DILATED_3X3,
    DILATED_5X5,
    SEPARABLE_3X3,
    SEPARABLE_5X5,
)


def darts(resolution: int = 32) -> CellSpace:
    """The space; `resolution` is the side of the square input in pixels, a multiple of 4."""
    kinds: tuple[Kind, ...] = tuple(
        "reduction" if i in REDUCTIONS else "normal" for i in range(CELLS)
    )
    cells = cell_sequence(kinds, width=WIDTH, side=resolution)
    layout = CellLayout(cells, OPERATIONS, NODES)
    blocks = cell_blocks(
        layout, channels=3, resolution=resolution, classes=CLASSES, stem_widths=STEM_WIDTHS
    )
    return CellSpace(
        "darts" if resolution == 32 else f"darts@{resolution}",
        layout,
        blocks,
        "DARTS's cells on 3x32x32 images: 8 cells of 4 nodes, seven operations",
    )
