"""How the weight of a sub-net is cut from a stored one."""

from typing import NamedTuple

from torch import Tensor, nn

from hwnas.graph import Shape
from hwnas.supernet.concatenated import Pieces, joined

__all__ = ["View", "part_of", "sub_slices"]

_Slices = tuple[slice, ...]


class View(NamedTuple):
    """How one weight of a block is cut from a stored one.

    Args:
        local: Name of the weight in the block.
        parameter: Where it is stored.
        slices: Part of the stored one; None for the whole.
        pieces: What is taken of those slices along axes where several maps lie side by side.
    """

    local: str
    parameter: nn.Parameter
    slices: _Slices | None
    pieces: Pieces = ()


def part_of(tensor: Tensor, view: View) -> Tensor:
    """What a view takes of a tensor of the stored weight's shape."""
    taken = tensor if view.slices is None else tensor[view.slices]
    return joined(taken, view.pieces)


def sub_slices(shared: Shape, wanted: Shape) -> _Slices | None:
    """How a sub-net's weight is cut from the shared one; None where it is the whole.

    A prefix of every axis, but the centre of the last two axes of a four-axis kernel.
    """
    if tuple(shared) == tuple(wanted):
        return None
    slices = [slice(0, side) for side in wanted]
    if len(wanted) == 4:
        for axis in (2, 3):
            begin = (shared[axis] - wanted[axis]) // 2
            slices[axis] = slice(begin, begin + wanted[axis])
    return tuple(slices)
