"""The layers of a graph that an accelerator is busy with.

Convolutions and matrix products are computed on the PEs. Pooling, sums, products and resizing of
feature maps stream through the shared buffer. What follows a layer element by element (batch norm,
activations) happens on the way out and costs nothing; neither does renaming of elements (reshape,
concatenation, slices), which is a matter of addresses.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph import Graph, shape_of

__all__ = ["DENSE", "DEPTHWISE", "FIELDS", "STREAMING", "Layers", "layers_of"]

DENSE, DEPTHWISE, STREAMING = range(3)

#: Columns of `Layers.table`, in the order of the native library.
FIELDS = ("kind", "groups", "k", "c", "r", "s", "oy", "ox", "stride_y", "stride_x")

_FREE = frozenset(
    ("BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Dropout",
     "DequantizeLinear", "Elu", "Erf", "Expand", "Flatten", "Gather", "Gelu", "HardSigmoid",
     "HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "PRelu", "Pad", "QuantizeLinear",
     "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softplus", "Split", "Sqrt", "Squeeze",
     "Tanh", "Transpose", "Unsqueeze")
)  # fmt: skip
_STREAMED = frozenset(
    ("Add", "AveragePool", "Div", "Exp", "GlobalAveragePool", "GlobalMaxPool",
     "InstanceNormalization", "LayerNormalization", "Max", "MaxPool", "Min", "Mul", "Pow",
     "ReduceMean", "ReduceSum", "Resize", "Softmax", "Sub", "Upsample")
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Layers:
    """Some layers in the order of execution.

    Args:
        table: `(l, 10)` of `int32`, columns `FIELDS`. A streaming layer reads `c` elements and
            writes `k`.
        names: Of the operators.
    """

    table: npt.NDArray[np.int32]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.names)

    @cached_property
    def macs(self) -> npt.NDArray[np.int64]:
        """Multiply-accumulates of each layer, `(l,)`."""
        wide = self.table.astype(np.int64)
        products = wide[:, 1:8].prod(axis=1)
        return np.where(self.table[:, 0] == STREAMING, 0, products)

    @classmethod
    def join(cls, parts: Sequence["Layers"]) -> "Layers":
        """The layers of several graphs, one after another; empty for none."""
        if not parts:
            return cls(np.empty((0, len(FIELDS)), dtype=np.int32), ())
        tables = np.concatenate([part.table for part in parts])
        return cls(tables, tuple(name for part in parts for name in part.names))


def layers_of(graph: Graph) -> Layers:
    """Layers of a network or a part of one.

    A transposed convolution with stride s becomes the convolution over its input that computes the
    same products: s * s times the filters, each of ceil(kernel / s) taps along a side (Shi et al.,
    Is the Deconvolution Layer the Same as a Convolutional Layer?, 2016). Where the stride does not
    divide the kernel, the zeros that fill the last taps count. A dilated convolution counts like
    one whose taps lie side by side.

    Raises:
        LoweringError: An operator that no dataflow can map, or a value without a static shape.
    """
    rows, names = [], []
    still = {*graph.weights, *graph.model.graph.initializers}
    still |= {v.name for n in graph.nodes if n.op_type == "Constant" for v in n.outputs}
    for node in graph.nodes:
        row = _row(node, still)
        if row is not None:
            rows.append(row)
            names.append(node.name or node.op_type)
    table = np.array(rows, dtype=np.int64).reshape(-1, len(FIELDS))
    if (table > np.iinfo(np.int32).max).any():
        raise LoweringError(f"graph {graph.name!r} has a layer of more than 2^31 elements")
    return Layers(table.astype(np.int32), tuple(names))


def _row(node: ir.Node, still: Set[str | None]) -> tuple[int, ...] | None:
    if node.op_type in _FREE:
        return None
    if node.op_type == "Conv":
        return _convolution(node)
    if node.op_type == "ConvTranspose":
        return _transposed(node)
    if node.op_type in ("Gemm", "MatMul"):
        return _product(node)
    if node.op_type in _STREAMED:
        read = sum(prod(shape_of(v)) for v in node.inputs if v is not None and v.name not in still)
        return (STREAMING, 1, prod(shape_of(node.outputs[0])), read, 1, 1, 1, 1, 1, 1)
    raise LoweringError(
        f"operator {node.op_type} ({node.name!r}) cannot be mapped: accelerators compute "
        f"convolutions and matrix products, and stream {', '.join(sorted(_STREAMED))}"
    )


def _convolution(node: ir.Node) -> tuple[int, ...]:
    weight, result = _shape(node, 1), shape_of(node.outputs[0])
    _check_rank(node, weight)
    groups = _integer(node, "group", 1)
    filters, channels = weight[0] // groups, weight[1]
    window, places = _two(weight[2:]), _two(result[2:])
    strides = _two(_integers(node, "strides", (1,) * len(weight[2:])))
    batch = result[0]
    if channels == 1 and filters == 1 and groups > 1:
        return (DEPTHWISE, 1, 1, groups, *window, batch * places[0], places[1], *strides)
    return (DENSE, groups, filters, channels, *window, batch * places[0], places[1], *strides)


def _transposed(node: ir.Node) -> tuple[int, ...]:
    weight, source = _shape(node, 1), _shape(node, 0)
    _check_rank(node, weight)
    groups = _integer(node, "group", 1)
    strides = _two(_integers(node, "strides", (1,) * len(weight[2:])))
    taps = tuple(
        -(-side // stride) for side, stride in zip(_two(weight[2:]), strides, strict=True)
    )
    places = _two(source[2:])
    filters = weight[1] * strides[0] * strides[1]
    return (
        DENSE, groups, filters, weight[0] // groups, *taps, source[0] * places[0], places[1], 1, 1
    )  # fmt: skip


def _product(node: ir.Node) -> tuple[int, ...]:
    left, result = _shape(node, 0), shape_of(node.outputs[0])
    transposed = node.op_type == "Gemm" and _integer(node, "transA", 0)
    inner = left[0] if transposed else left[-1]
    rows = prod(result[:-1])
    return (DENSE, 1, result[-1], inner, 1, 1, 1, rows, 1, 1)


def _check_rank(node: ir.Node, weight: tuple[int, ...]) -> None:
    if len(weight) not in (3, 4):
        raise LoweringError(
            f"{node.op_type} {node.name!r} is {len(weight) - 2}-dimensional: one and two "
            "dimensions can be mapped"
        )


def _two(sides: Sequence[int]) -> tuple[int, int]:
    """One-dimensional layers are images of one row."""
    return (1, sides[0]) if len(sides) == 1 else (sides[0], sides[1])


def _shape(node: ir.Node, index: int) -> tuple[int, ...]:
    value = node.inputs[index]
    assert value is not None  # the checker has passed: these inputs are mandatory
    return shape_of(value)


def _integer(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _integers(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(node.attributes[name].as_ints()) if name in node.attributes else default
