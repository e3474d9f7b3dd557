"""Peak memory of a graph by liveness analysis.

Operators run one after another in the graph's order; a tensor lives from its producer to its last
reader. The peak is the largest sum of live activations; weights and constants, which live
throughout, do not count.
Element-wise operators may write over an input that nobody reads later, as runtimes do.

It is what a careful allocator needs. ONNX Runtime keeps buffers that it plans to use again: it
holds up to twice as much (`tests/unit/graph/test_liveness.py` compares the two).
"""

from collections.abc import Collection
from math import prod

import onnx_ir as ir

from hwnas.graph.counts import BYTES_PER_ELEMENT
from hwnas.graph.graph import Graph, shape_of

__all__ = ["peak_activation_bytes"]

IN_PLACE = frozenset(
    {"Add", "BatchNormalization", "Clip", "Flatten", "HardSigmoid", "HardSwish", "Identity"}
    | {"Mul", "Relu", "Reshape", "Sigmoid"}
)


def peak_activation_bytes(graph: Graph, kept: Collection[ir.Value] = ()) -> int:
    """Largest sum of live activation bytes, graph inputs and outputs included.

    A graph without operators needs its inputs.

    Args:
        graph: The network or block.
        kept: Inputs that live to the end because somebody else reads them later.

    Raises:
        LoweringError: A value has no static shape.
    """
    size = {v: BYTES_PER_ELEMENT * prod(shape_of(v)) for v in graph.inputs}
    last_use = {v: -1 for v in graph.inputs}
    for position, node in enumerate(graph.nodes):
        for value in node.outputs:
            is_stored = node.op_type != "Constant"
            size[value] = BYTES_PER_ELEMENT * prod(shape_of(value)) if is_stored else 0
            last_use[value] = position
        for operand in node.inputs:
            if operand is not None and operand in size:
                last_use[operand] = position
    for value in (*graph.outputs, *kept):
        last_use[value] = len(graph.nodes)

    live = sum(size[v] for v in graph.inputs)
    peak = live
    for position, node in enumerate(graph.nodes):
        dying = {v for v in node.inputs if v is not None and last_use.get(v) == position}
        produced = sum(size[v] for v in node.outputs)
        freed = sum(size[v] for v in dying)
        freed += sum(size[v] for v in node.outputs if last_use[v] == position)  # never read
        reused = 0
        if node.op_type in IN_PLACE and any(size[v] == produced for v in dying):
            reused = produced
        peak = max(peak, live + produced - reused)
        live += produced - freed
    return peak
