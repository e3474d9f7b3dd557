"""Clock cycles of a graph on the FPGA: the array's are exact, those of all else assumed.

The RTL is the array with its banks and requantisers. Around it a whole accelerator has a memory
for all activations, a feeder that reads patches from it, and lanes for what is no product of
matrices. They are not built; what is assumed of them is said here, once:

* The feeder gives N bytes a side and cycle, so the array never waits (`hwnas.fpga.cycles`).
* Batch normalisation and bounds (`Relu`, `Clip`) right behind a layer cost nothing: they are
  folded into weights, biases and bounds of the requantiser, as ONNX Runtime does it.
* What only moves or names values costs nothing: the feeder reads at other addresses.
* N lanes do the rest, one value each a cycle, after the array and not beside it. Pooling takes a
  cycle for each value under the window. Functions of one int8 (`HardSwish`) are tables.
* A transposed convolution whose kernel is not larger than its stride is a product for each input
  place. Others read an input with zeros between, as ONNX defines them; the zeros cost cycles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from hwnas.fpga.cycles import plan_layers
from hwnas.fpga.layers import array_layer
from hwnas.graph import Graph, shape_of

__all__ = ["GraphCycles", "graph_cycles"]

_IN_REQUANTISER = frozenset({"BatchNormalization", "Clip", "Relu"})
_ADDRESSES = frozenset(
    {
        "Concat",
        "Constant",
        "Dropout",
        "Expand",
        "Flatten",
        "Identity",
        "Pad",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
_POOLS = frozenset({"AveragePool", "MaxPool"})


@dataclass(frozen=True)
class GraphCycles:
    """Cycles of a graph.

    Args:
        array: Of the layers on the array; exact.
        lanes: Of everything else; assumed.
    """

    array: int
    lanes: int

    @property
    def total(self) -> int:
        """One after the other."""
        return self.array + self.lanes


def graph_cycles(graph: Graph, side: int) -> GraphCycles:
    """Cycles on an N x N array.

    Raises:
        LoweringError: A value has no static shape.
        TargetError: There is no array of this side.
    """
    layers = {node: layer for node in graph.nodes if (layer := array_layer(node)) is not None}
    folded: set[ir.Node] = set()
    values = 0
    for node in graph.nodes:
        if node in layers or node.op_type in _ADDRESSES:
            continue
        before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if (
            node.op_type in _IN_REQUANTISER
            and before is not None
            and (before in layers or before in folded)
            and len(before.outputs[0].uses()) == 1
        ):
            folded.add(node)
            continue
        values += -(-_lane_values(node) // side)
    plans = plan_layers(list(layers.values()), [side])
    return GraphCycles(int(plans.cycles.sum()), values)


def _lane_values(node: ir.Node) -> int:
    """Values that the lanes take in or give out for an operator, whichever are more."""
    outputs = sum(_size(value) for value in node.outputs)
    if node.op_type in _POOLS:
        return outputs * prod(node.attributes["kernel_shape"].as_ints())
    return max(outputs, _largest(node.inputs))


def _largest(values: Sequence[ir.Value | None]) -> int:
    return max((_size(value) for value in values if value is not None), default=0)


def _size(value: ir.Value) -> int:
    return prod(shape_of(value))
