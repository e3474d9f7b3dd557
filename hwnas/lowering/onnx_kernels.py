"""An ONNX model of anyone, divided into kernels.

A kernel is an operator with the element-wise operators that follow it and have no other reader:
what runtimes fuse. Operators and values are renamed to `<kernel>/...`, so that what a runtime
makes of them still shows where it belongs, as blocks of a space do.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph import Graph, GraphCounts, count_graph, kernel_key, kernel_signature

__all__ = ["OnnxKernel", "divide", "kernel_owners"]

log = logging.getLogger(__name__)

_ELEMENTWISE = frozenset(
    {"Add", "BatchNormalization", "Cast", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu"}
    | {"HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mul", "Neg", "PRelu", "Pow"}
    | {"Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh", "Mish"}
)
_FOLDED = -1
_CONSTANT = "constant"


@dataclass(frozen=True)
class OnnxKernel:
    """One kernel of a model.

    Args:
        name: Its name in the divided model.
        signature: One readable line.
        key: 32 hexadecimal digits, or None where a shape is not known.
        counts: Operations and bytes, or None.
        graph: Itself, weights without values; None where a shape is not known, and for kernels
            that a compiler has made.
    """

    name: str
    signature: str
    key: str | None
    counts: GraphCounts | None
    graph: Graph | None = field(default=None, repr=False, compare=False)


def divide(
    model: onnx.ModelProto, weights: Collection[str] = ()
) -> tuple[onnx.ModelProto, tuple[OnnxKernel, ...]]:
    """Divide a model.

    Args:
        model: With weights as initializers and fixed input shapes.
        weights: Names of inputs that are weights too, left without values.

    Returns:
        The same model with new names, and its kernels in order.
    """
    divided = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = divided.graph
    groups = _groups(graph, weights)
    kernels = [f"k{number}" for number in range(max(groups, default=_FOLDED) + 1)]
    _rename(graph, [_CONSTANT if g == _FOLDED else kernels[g] for g in groups])
    typed = {v.name: v for v in (*graph.input, *graph.output, *graph.value_info)}
    known = {name: _without_value(typed[name]) for name in weights}
    known |= {tensor.name: _described_weight(tensor) for tensor in graph.initializer}
    members: list[list[onnx.NodeProto]] = [[] for _ in kernels]
    for node, group in zip(graph.node, groups, strict=True):
        if group == _FOLDED:
            known |= _folded(node, typed)
        else:
            members[group].append(node)
    described = [
        _described(divided, name, nodes, typed, known)
        for name, nodes in zip(kernels, members, strict=True)
    ]
    return divided, tuple(described)


def kernel_owners(optimised: onnx.ModelProto) -> dict[str, str]:
    """Kernel of each operator of a divided model that a runtime has optimised, by its name.

    An operator that a runtime added belongs to the first one that reads it, such as a change of
    layout; one that nobody reads belongs to none.
    """
    graph = optimised.graph
    readers: dict[str, str] = {}
    owners: dict[str, str] = {}
    for node in reversed(graph.node):
        own = next((_stem(n) for n in (node.name, *node.output) if "/" in n), "")
        owner = own or next((readers[n] for n in node.output if n in readers), "")
        owners[node.name] = owner
        if owner:
            readers |= dict.fromkeys(node.input, owner)
    return owners


def _groups(graph: onnx.GraphProto, weights: Collection[str]) -> list[int]:
    """Number of each operator's kernel, in order of their first operators.

    Operators on nothing but weights are `_FOLDED`: runtimes compute them once.
    A kernel is a chain of values of one shape: what is inside has one reader, so that nothing
    outside lies between.
    """
    shapes = {v.name: _shape(v) for v in (*graph.input, *graph.output, *graph.value_info)}
    reads = Counter(name for node in graph.node for name in node.input)
    results = {value.name for value in graph.output}
    still = {tensor.name for tensor in graph.initializer} | set(weights)
    writer: dict[str, int] = {}
    groups: list[int] = []
    for node in graph.node:
        if still.issuperset(name for name in node.input if name):
            groups.append(_FOLDED)
            still.update(node.output)
            continue
        joined = [
            writer[name]
            for name in node.input
            if name in writer
            and reads[name] == 1
            and name not in results
            and shapes.get(name) == shapes.get(node.output[0])
        ]
        fused = node.op_type in _ELEMENTWISE and joined
        group = max(joined) if fused else max(groups, default=_FOLDED) + 1
        groups.append(group)
        if len(node.output) == 1:
            writer[node.output[0]] = group
    return groups


def _shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)


def _rename(graph: onnx.GraphProto, kernels: list[str]) -> None:
    """Prefix operators, and values that are not the model's own inputs, outputs or weights."""
    kept = {v.name for v in (*graph.input, *graph.output)} | {t.name for t in graph.initializer}
    new: dict[str, str] = {}
    for number, (node, kernel) in enumerate(zip(graph.node, kernels, strict=True)):
        node.name = f"{kernel}/{node.op_type}_{number}"
        new |= {name: f"{kernel}/{name}" for name in node.output if name and name not in kept}
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in graph.value_info:
        value.name = new.get(value.name, value.name)


def _described(
    model: onnx.ModelProto,
    name: str,
    nodes: list[onnx.NodeProto],
    typed: Mapping[str, onnx.ValueInfoProto],
    weights: Mapping[str, onnx.TensorProto],
) -> OnnxKernel:
    inside = {output for node in nodes for output in node.output}
    read = dict.fromkeys(n for node in nodes for n in node.input if n)
    inputs = [n for n in read if n not in inside and n not in weights]
    outputs = [n for n in nodes[-1].output if n]
    operators = "-".join(node.op_type for node in nodes)
    try:
        piece = onnx.helper.make_graph(
            [_plain(node, weights) for node in nodes],
            name,
            [typed[n] for n in inputs],
            [typed[n] for n in outputs],
            [weights[n] for n in read if n in weights],
            value_info=[typed[n] for n in inside if n in typed and n not in outputs],
        )
        whole = onnx.helper.make_model(
            piece, opset_imports=model.opset_import, ir_version=model.ir_version
        )
        graph = Graph(ir.from_proto(whole))
        signature, key = kernel_signature(graph), kernel_key(graph)
        return OnnxKernel(name, signature, key, count_graph(graph), graph)
    except (LoweringError, KeyError, ir.serde.SerdeError) as error:
        log.debug("kernel %s (%s) has no key: %s", name, operators, error)
        return OnnxKernel(name, operators, None, None)


def _plain(node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto]) -> onnx.NodeProto:
    """A convolution with the attributes that hwnas's own graphs have; other operators as they are.

    Exporters leave out the size of the window and write defaults.
    """
    if node.op_type != "Conv" or node.input[1] not in weights:
        return node
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    del plain.attribute[:]
    window = list(weights[node.input[1]].dims)[2:]
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    attributes = {
        "group": found.get("group", 1),
        "kernel_shape": window,
        "pads": found.get("pads", [0] * 2 * len(window)),
        "strides": found.get("strides", [1] * len(window)),
    }
    dilations = found.get("dilations", [1] * len(window))
    if any(step != 1 for step in dilations):
        attributes["dilations"] = dilations
    plain.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())
    return plain


def _without_value(value: onnx.ValueInfoProto) -> onnx.TensorProto:
    """A weight of that type and shape, whose value nobody asks for.

    A scalar becomes a vector of one element: the value of a scalar is part of a kernel's key.
    """
    kind = value.type.tensor_type
    dims = [side.dim_value for side in kind.shape.dim] or [1]
    return onnx.TensorProto(name=value.name, data_type=kind.elem_type, dims=dims)


def _described_weight(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """A scalar as it is, anything else without its value, which keys leave out."""
    if not tensor.dims:
        return tensor
    return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _folded(
    node: onnx.NodeProto, typed: Mapping[str, onnx.ValueInfoProto]
) -> dict[str, onnx.TensorProto]:
    """Results of an operator on weights alone, as weights."""
    if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
        tensor = _described_weight(node.attribute[0].t)
        named = onnx.TensorProto()
        named.CopyFrom(tensor)
        named.name = node.output[0]
        return {named.name: named}
    known = [typed[name] for name in node.output if name in typed]
    return {value.name: _without_value(value) for value in known if _is_fixed(value)}


def _is_fixed(value: onnx.ValueInfoProto) -> bool:
    kind = value.type.tensor_type
    return kind.HasField("shape") and all(side.HasField("dim_value") for side in kind.shape.dim)


def _stem(name: str) -> str:
    return name.split("/")[0].split(" ")[-1]  # ONNX Runtime calls some `fused <name>`
