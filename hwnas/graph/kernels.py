"""Kernels: the units that a runtime executes, and their keys.

A kernel is a fused subgraph with shapes, types and attributes but without weight values. Its key
is 128 bits over that description (`hwnas._core.canonical_key`), equal for isomorphic subgraphs and
stable across machines and Python versions; its signature is the same thing for human readers.
"""

from dataclasses import dataclass

import onnx_ir as ir

from hwnas import _core
from hwnas.graph.counts import count_graph
from hwnas.graph.graph import Graph, shape_of
from hwnas.graph.wiring import read_inputs, wiring_of

__all__ = ["Kernel", "kernel_key", "kernel_signature"]

_SHORT = {"BatchNormalization": "BN", "GlobalAveragePool": "GAP", "HardSigmoid": "HSigmoid"}


@dataclass(frozen=True)
class Kernel:
    """What a key stands for.

    Args:
        key: 32 hexadecimal digits.
        signature: One readable line.
        macs: Multiply-accumulates.
        activation_bytes: Inputs that are not weights, and results.
        weight_bytes: Weights.
    """

    key: str
    signature: str
    macs: int
    activation_bytes: int
    weight_bytes: int


def kernel_key(graph: Graph, context: str = "") -> str:
    """Key of a kernel as 32 hexadecimal digits.

    Inputs that nothing reads are no part of the kernel.

    Args:
        graph: The kernel.
        context: What the measured cost depends on beside the subgraph itself, such as the
            layouts of its neighbours; part of the key.

    Raises:
        LoweringError: A value has no static shape.
    """
    wiring = wiring_of(graph, context)
    return _core.canonical_key(wiring.labels, wiring.wires, wiring.outputs).hex()


def kernel_signature(graph: Graph) -> str:
    """One readable line: input shapes, operators in order, output shapes, MACs."""
    inputs = "+".join("x".join(map(str, shape_of(v))) for v in read_inputs(graph))
    outputs = "+".join("x".join(map(str, shape_of(v))) for v in graph.outputs)
    operators = "-".join(_operator(node) for node in graph.nodes) or "identity"
    return f"{inputs} {operators} {outputs} macs={count_graph(graph).macs}"


def _operator(node: ir.Node) -> str:
    name = _SHORT.get(node.op_type, node.op_type)
    if node.op_type != "Conv":
        return name
    kernel = node.attributes["kernel_shape"].as_ints()
    stride = node.attributes["strides"].as_ints() if "strides" in node.attributes else [1]
    grouped = node.attributes["group"].as_int() if "group" in node.attributes else 1
    depthwise = "dw" if grouped > 1 else ""
    dilation = node.attributes["dilations"].as_ints()[0] if "dilations" in node.attributes else 1
    dilated = f"d{dilation}" if dilation > 1 else ""
    return f"{depthwise}Conv{kernel[0]}s{stride[0]}{dilated}"
