"""Weights that read several maps laid side by side, and which part of them reads which map.

Where a block joins maps along their channels and a choice makes them narrower, a prefix of the
weight that reads them would take the channels of the first map for those of the second. Such a
weight is stored with room for the widest of every map, and a sub-net takes a prefix of each part.
Which weights those are follows from the graph of the block.
"""

from collections.abc import Mapping
from itertools import accumulate

import onnx_ir as ir
import torch
from torch import Tensor

from hwnas.errors import SpaceError
from hwnas.graph import Graph, shape_of

__all__ = ["Parts", "Pieces", "concatenated_weights", "joined", "pieces_of", "widest_parts"]

Parts = dict[int, tuple[int, ...]]
"""Axis of a weight to the channels of each map that it reads along it."""
Pieces = tuple[tuple[int, tuple[slice, ...]], ...]
"""Axes with what a sub-net takes along them, one slice a map."""

_CHANNEL_BY_CHANNEL = frozenset(
    {"AveragePool", "BatchNormalization", "Clip", "GlobalAveragePool", "HardSigmoid"}
    | {"HardSwish", "Identity", "MaxPool", "Relu", "Sigmoid"}
)
_INPUT_AXIS = {"Conv": 1, "ConvTranspose": 0}


def concatenated_weights(graph: Graph) -> dict[str, Parts]:
    """Weights of a block that read several maps side by side, by name.

    Args:
        graph: The block.

    Raises:
        SpaceError: A convolution with groups reads them: no part of its weight is of one map.
    """
    found: dict[str, Parts] = {}
    for node in graph.nodes:
        parts = _parts_of(node.inputs[0]) if node.inputs else ()
        if len(parts) < 2:
            continue
        if node.op_type == "BatchNormalization":
            found |= {v.name or "": {0: parts} for v in node.inputs[1:] if v is not None}
        elif node.op_type in _INPUT_AXIS:
            group = node.attributes.get("group")
            if group is not None and group.as_int() != 1:
                raise SpaceError(
                    f"{node.name!r} convolves maps that lie side by side in "
                    f"{group.as_int()} groups: such a weight cannot be shared; convolve each map "
                    "before they are joined"
                )
            weight = node.inputs[1]
            assert weight is not None
            found[weight.name or ""] = {_INPUT_AXIS[node.op_type]: parts}
    return found


def widest_parts(name: str, first: Parts | None, second: Parts | None) -> Parts:
    """Room for what two choices take of one stored weight.

    Args:
        name: Of the stored weight.
        first: Parts in one choice; None if it was not there yet.
        second: Parts in the other; None if it reads one map only.

    Raises:
        SpaceError: They read different numbers of maps.
    """
    if first is None:
        return second or {}
    counts = [{axis: len(p) for axis, p in (parts or {}).items()} for parts in (first, second)]
    if counts[0] != counts[1]:
        raise SpaceError(
            f"weight {name!r} reads {counts[0] or 'one map'} in one choice and "
            f"{counts[1] or 'one map'} in another (maps by axis): it cannot be shared"
        )
    return {
        axis: tuple(map(max, zip(parts, (second or {})[axis], strict=True)))
        for axis, parts in first.items()
    }


def pieces_of(stored: Mapping[int, tuple[int, ...]], wanted: Parts) -> Pieces:
    """What a sub-net takes of a stored weight along the axes where maps lie side by side.

    Args:
        stored: Parts of the stored weight.
        wanted: Parts of the sub-net's weight, as many.

    Returns:
        Nothing for axes that it takes whole.
    """
    found = []
    for axis, room in stored.items():
        if room != wanted[axis]:
            starts = accumulate(room[:-1], initial=0)
            taken = zip(starts, wanted[axis], strict=True)
            found.append((axis, tuple(slice(start, start + width) for start, width in taken)))
    return tuple(found)


def joined(tensor: Tensor, pieces: Pieces) -> Tensor:
    """The pieces of a tensor, one behind the other along each axis."""
    for axis, slices in pieces:
        tensor = torch.cat([tensor.narrow(axis, s.start, s.stop - s.start) for s in slices], axis)
    return tensor


def _parts_of(value: ir.Value | None) -> tuple[int, ...]:
    """Channels of the maps that a value holds side by side; one entry if it is a single map."""
    producer = None if value is None else value.producer()
    if value is None or producer is None or len(shape_of(value)) != 4:
        return ()
    if producer.op_type == "Concat":
        axis = producer.attributes.get("axis")
        if axis is None or axis.as_int() != 1:
            return ()
        parts: list[int] = []
        for part in producer.inputs:
            assert part is not None
            parts += _parts_of(part) or shape_of(part)[1:2]
        return tuple(parts)
    return _parts_of(producer.inputs[0]) if producer.op_type in _CHANNEL_BY_CHANNEL else ()
