"""Channels of a block in the order of their importance, so that a prefix holds the best of them.

Cai et al., Once-for-All: Train One Network and Specialize It for Efficient Deployment, ICLR 2020,
section 3.3 ("elastic width"): a channel is as important as the L1 norm of the weights that read
it,

    importance(c) = sum |W_project[:, c]|

and when widths become elastic, the channels of the largest network are sorted by it, descending.
All weights along a channel axis move together: the convolution that makes the channels, its batch
norm, the depthwise kernel, squeeze-and-excitation, the convolution that reads them. So the largest
network computes what it did before. Which axes those are follows from the graph of the block.

Differs from the released code: the squeezed channels of squeeze-and-excitation stay inside their
segments too, as the expanded ones do; there they move freely each time.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import onnx_ir as ir
import torch
from torch import Tensor

from hwnas.graph import Graph, shape_of
from hwnas.supernet.supernet import Supernet

__all__ = ["ChannelGroup", "channel_groups", "sort_channels"]

Axis = tuple[str, int]
"""Name of a weight in its block, and one of its axes."""

_SAME = (
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "MaxPool",
    "Relu",
    "Sigmoid",
)
_TOGETHER = ("Add", "Mul")


class ChannelGroup(NamedTuple):
    """Channels that can be reordered, together, without a change of what the block computes.

    Args:
        size: Number of channels.
        axes: Weights along the channels.
        readers: Those among them whose L1 norm says how important a channel is. A convolution that
            only makes the factors by which the channels are scaled does not count, unless it is
            alone.
    """

    size: int
    axes: tuple[Axis, ...]
    readers: tuple[Axis, ...]


@torch.no_grad()
def sort_channels(supernet: Supernet, used: Sequence[Sequence[int]]) -> int:
    """Sort all channels of which some sub-net takes a part, in place.

    The channels that a trained sub-net takes stay the same set: a channel moves only inside the
    segment between two prefixes that are in use. Equal importance keeps the order. An optimiser's
    state does not move with the weights; make a new one.

    Args:
        supernet: The supernet; its choices share weights.
        used: Option indices in use, for every decision of the space.

    Returns:
        Number of sorted groups.
    """
    stored = supernet.shared_parameters()
    count = 0
    for block in range(len(supernet.space.blocks)):
        columns = supernet.space.columns_of(block)
        choices = list(supernet.choices(block))
        graph = supernet.space.fragment(block, choices[-1]).graph
        statistics = supernet.block_plan(block, choices[-1]).statistics
        for group in channel_groups(graph):
            moved = {
                (local, axis): stored[supernet.stored_name(block, choices[-1], local)]
                for local, axis in group.axes
                if local not in statistics
            }
            if any(weight.shape[axis] != group.size for (_, axis), weight in moved.items()):
                continue  # another choice makes it larger: not the channels of this graph alone
            taken: dict[int, bool] = {}
            for choice in choices:
                size = _prefix(supernet, block, choice, group)
                pairs = zip(columns, choice, strict=True)
                in_use = all(option in used[column] for column, option in pairs)
                taken[size] = taken.get(size, False) or in_use
            if len(taken) == 1:
                continue
            borders = sorted({0, group.size, *(size for size, in_use in taken.items() if in_use)})
            readers = [(moved[reader], reader[1]) for reader in group.readers]
            order = _order(readers, group.size, borders)
            for (_, axis), weight in moved.items():
                weight.copy_(weight.index_select(axis, order))
            count += 1
    return count


def channel_groups(graph: Graph) -> list[ChannelGroup]:
    """Groups of channels inside a block.

    Channels that reach an input or output of the graph are in none, nor those of an operator that
    is not known to treat all channels alike.

    Args:
        graph: The block.
    """
    links = _Links()
    pinned: list[tuple[ir.Value, int]] = [(value, 1) for value in graph.inputs]
    pinned += [(value, 1) for value in graph.outputs]
    readers: list[tuple[ir.Value, ir.Value]] = []  # weight and result
    for node in graph.nodes:
        if not _link(node, links, readers):
            values = [value for value in (*node.inputs, *node.outputs) if value is not None]
            pinned += [(value, axis) for value in values for axis in (0, 1)]
    fixed = {links.root(key) for key in pinned}
    members: dict[object, list[Axis]] = {}
    for name, value in graph.weights.items():
        for axis in range(min(len(shape_of(value)), 2)):
            if (value, axis) in links and links.root((value, axis)) not in fixed:
                members.setdefault(links.root((value, axis)), []).append((name, axis))
    found = []
    shapes = {name: shape_of(value) for name, value in graph.weights.items()}
    for root, axes in members.items():
        reading = [(w, out) for w, out in readers if links.root((w, 1)) == root]
        plain = []
        for weight, result in reading:
            made = links.root((result, 1))
            back = {links.root((out, 1)) for w, out in readers if links.root((w, 1)) == made}
            if made in fixed or root not in back:
                plain.append(weight)
        counted = plain or [w for w, _ in reading]
        if counted:
            name, axis = axes[0]
            size = shapes[name][axis]
            found.append(
                ChannelGroup(size, tuple(axes), tuple((w.name or "", 1) for w in counted))
            )
    return found


# Private ---------------------------------------------------------------------------------------


class _Links:
    """Disjoint sets of axes of values."""

    def __init__(self) -> None:
        self._parent: dict[tuple[ir.Value, int], tuple[ir.Value, int]] = {}

    def __contains__(self, key: tuple[ir.Value, int]) -> bool:
        return key in self._parent

    def root(self, key: tuple[ir.Value, int]) -> tuple[ir.Value, int]:
        while (parent := self._parent.setdefault(key, key)) != key:
            key = parent
        return key

    def join(self, one: tuple[ir.Value, int], other: tuple[ir.Value, int]) -> None:
        self._parent[self.root(one)] = self.root(other)


def _link(node: ir.Node, links: _Links, readers: list[tuple[ir.Value, ir.Value]]) -> bool:
    """Join the axes that a node ties; False if the node may treat channels differently."""
    inputs = [value for value in node.inputs if value is not None]
    result = node.outputs[0]
    if node.op_type in ("Conv", "Gemm"):
        x, weight, *bias = inputs
        shape = shape_of(weight)
        group = node.attributes.get("group")
        groups = 1 if group is None else group.as_int()
        if node.op_type == "Gemm" and not _is_linear(node):
            return False
        if groups == 1:
            links.join((weight, 1), (x, 1))
            readers.append((weight, result))
        elif groups == shape_of(x)[1] == shape[0]:
            links.join((result, 1), (x, 1))
        else:
            return False
        links.join((weight, 0), (result, 1))
        for value in bias:
            links.join((value, 0), (result, 1))
        return True
    if node.op_type in _SAME:
        links.join((inputs[0], 1), (result, 1))
        if node.op_type == "BatchNormalization":
            for value in inputs[1:]:
                links.join((value, 0), (result, 1))
        return True
    if node.op_type in _TOGETHER:
        for value in inputs:
            shape = shape_of(value)
            if len(shape) == len(shape_of(result)) and shape[1] == shape_of(result)[1]:
                links.join((value, 1), (result, 1))
            elif any(side != 1 for side in shape):
                return False
        return True
    if node.op_type == "Flatten" and shape_of(result)[1] == shape_of(inputs[0])[1]:
        links.join((inputs[0], 1), (result, 1))
        return True
    return False


def _is_linear(node: ir.Node) -> bool:
    flags = {name: node.attributes.get(name) for name in ("transA", "transB")}
    return [0 if flag is None else flag.as_int() for flag in flags.values()] == [0, 1]


def _prefix(supernet: Supernet, block: int, choice: tuple[int, ...], group: ChannelGroup) -> int:
    """How many channels of a group a choice takes; all, where it does not have the group."""
    shapes = supernet.block_plan(block, choice).weight_shapes
    sizes = [shapes[name][axis] for name, axis in group.axes if name in shapes]
    return min(sizes, default=group.size)


def _order(readers: Sequence[tuple[Tensor, int]], size: int, borders: Sequence[int]) -> Tensor:
    """Positions of the channels, the most important of each segment first."""
    importance = torch.zeros(size, device=readers[0][0].device)
    for weight, axis in readers:
        others = [other for other in range(weight.ndim) if other != axis]
        importance += weight.abs().sum(others)
    return torch.cat(
        [
            begin + importance[begin:end].argsort(descending=True, stable=True)
            for begin, end in pairwise(borders)
        ]
    )
