"""Kernels: the units that a runtime executes, and their keys.

A kernel is a fused subgraph with shapes, types and attributes but without weight values. Its key
is 128 bits over that description (`hwnas._core.canonical_key`), equal for isomorphic subgraphs and
stable across machines and Python versions; its signature is the same thing for human readers.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from hwnas import _core
from hwnas.graph.counts import count_graph
from hwnas.graph.graph import Graph, shape_of

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
    weights = graph.weights
    labels: list[bytes] = []
    edges: list[tuple[int, int, int]] = []
    index: dict[ir.Value, int] = {}
    for value in _read_inputs(graph):
        index[value] = len(labels)
        labels.append(f"input {shape_of(value)} {value.dtype} {context}".encode())
    for node in graph.nodes:
        here = len(labels)
        constants = []
        for slot, operand in enumerate(node.inputs):
            if operand is None:
                continue
            if operand in index:
                edges.append((index[operand], here, slot))
            elif operand.name in weights:
                constants.append(f"{slot}:w{shape_of(operand)}")
            else:
                constants.append(f"{slot}:={_scalar(operand)}")
        results = [f"{shape_of(v)} {v.dtype}" for v in node.outputs]
        labels.append(
            f"{node.domain}:{node.op_type} {_attributes(node)} {constants} {results}".encode()
        )
        for value in node.outputs:
            index[value] = here
    outputs = np.array([index[v] for v in graph.outputs], dtype=np.int32)
    wires = np.array(edges, dtype=np.int32).reshape(-1, 3)
    return _core.canonical_key(labels, wires, outputs).hex()


def kernel_signature(graph: Graph) -> str:
    """One readable line: input shapes, operators in order, output shapes, MACs."""
    inputs = "+".join("x".join(map(str, shape_of(v))) for v in _read_inputs(graph))
    outputs = "+".join("x".join(map(str, shape_of(v))) for v in graph.outputs)
    operators = "-".join(_operator(node) for node in graph.nodes) or "identity"
    return f"{inputs} {operators} {outputs} macs={count_graph(graph).macs}"


def _read_inputs(graph: Graph) -> list[ir.Value]:
    return [value for value in graph.inputs if value.uses() or value in graph.outputs]


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


def _attributes(node: ir.Node) -> str:
    return " ".join(f"{a.name}={_plain(a.value)}" for _, a in sorted(node.attributes.items()))


def _plain(value: object) -> str:
    """As text; floats as the float32 that ONNX stores, so that a loaded graph has the same key."""
    if isinstance(value, float):
        return str(np.float32(value))
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_plain, value))})"
    return repr(value)


def _scalar(value: ir.Value) -> str:
    tensor = value.const_value
    if tensor is None or prod(tensor.shape.numpy()) != 1:
        return f"{value.dtype} {value.shape}"
    return repr(tensor.numpy().item())
