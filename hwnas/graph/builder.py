"""Emit ONNX operators one after another, with shapes known at every step.

The vocabulary is ONNX's. Weights are declared by name and shape; their values are bound later, so
that a network can be built, costed and compared without holding any. Layout is NCHW, numbers are
float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph.graph import IR_VERSION, OPSET_VERSION, WEIGHT_MARK, Graph, Shape, shape_of

__all__ = ["GraphBuilder"]

Attributes = dict[str, int | float | tuple[int, ...]]

_FLOAT = ir.TensorType(ir.DataType.FLOAT)
_TYPES = {each: ir.TensorType(each) for each in (ir.DataType.FLOAT, ir.DataType.INT64)}
_END = 2**31 - 1  # beyond any side: a slice up to here goes to the end
BATCH_NORM_EPSILON = 1e-5  # ONNX's and torch's default


class GraphBuilder:
    """Builds one `Graph`.

    Args:
        name: Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[ir.Value] = []
        self._outputs: list[ir.Value] = []
        self._nodes: list[ir.Node] = []
        self._weights: dict[str, ir.Value] = {}
        self._constants: dict[float, ir.Value] = {}
        self._scope = ""
        self._names: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefix the names of all weights and nodes made inside with `name/`."""
        outer = self._scope
        self._scope = f"{outer}{name}/"
        try:
            yield
        finally:
            self._scope = outer

    def input(self, name: str, shape: Shape) -> ir.Value:
        """Declare an input of the graph."""
        value = ir.Value(name=name, shape=ir.Shape(shape), type=_FLOAT)
        self._inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str) -> None:
        """Declare an output of the graph under the given name.

        A value that is an input or already an output passes through an `Identity`, as ONNX wants
        distinct names.
        """
        if value.producer() is None or value in self._outputs:
            value = self._emit("Identity", [value], shape_of(value))
        value.name = name
        self._outputs.append(value)

    def build(self) -> Graph:
        """Finish the graph.

        Raises:
            LoweringError: No output was declared.
        """
        if not self._outputs:
            raise LoweringError(
                f"graph {self._name!r} has no output: call output(value, name) first"
            )
        graph = ir.Graph(
            [*self._inputs, *self._weights.values()],
            self._outputs,
            nodes=self._nodes,
            initializers=list(self._constants.values()),
            opset_imports={"": OPSET_VERSION},
            name=self._name,
        )
        return Graph(ir.Model(graph, ir_version=IR_VERSION, producer_name="hwnas"))

    def conv(
        self,
        x: ir.Value,
        channels: int,
        kernel: int,
        *,
        name: str,
        stride: int = 1,
        group: int = 1,
        dilation: int = 1,
        bias: bool = False,
    ) -> ir.Value:
        """Two-dimensional convolution, padded by `kernel // 2 * dilation` ("same" at stride 1)."""
        n, c, h, w = shape_of(x)
        if c % group or channels % group:
            raise LoweringError(
                f"{self._scope}{name}: {c} and {channels} channels do not divide by group {group}"
            )
        inputs = [x, self.weight(f"{name}/weight", (channels, c // group, kernel, kernel))]
        if bias:
            inputs.append(self.weight(f"{name}/bias", (channels,)))
        attributes, (h, w) = _window(h, w, kernel, stride, dilation)
        attributes["group"] = group
        if dilation != 1:
            attributes["dilations"] = (dilation, dilation)
        return self._emit("Conv", inputs, (n, channels, h, w), attributes, name=name)

    def conv_transpose(self, x: ir.Value, channels: int, factor: int, *, name: str) -> ir.Value:
        """The image `factor` times as large: every pixel becomes a square of its own.

        A transposed convolution whose kernel side is its stride, so that squares do not overlap
        (Ronneberger et al., U-Net, MICCAI 2015: the "up-convolution"); with bias. The weight is
        stored as `(inputs, channels, factor, factor)`.
        """
        n, c, h, w = shape_of(x)
        inputs = [
            x,
            self.weight(f"{name}/weight", (c, channels, factor, factor)),
            self.weight(f"{name}/bias", (channels,)),
        ]
        attributes: Attributes = {
            "kernel_shape": (factor, factor),
            "strides": (factor, factor),
            "pads": (0, 0, 0, 0),
            "group": 1,
        }
        shape = (n, channels, h * factor, w * factor)
        return self._emit("ConvTranspose", inputs, shape, attributes, name=name)

    def max_pool(
        self, x: ir.Value, kernel: int, *, stride: int = 1, pad: int | None = None
    ) -> ir.Value:
        """Largest value of each window; padding, by default `kernel // 2`, never wins."""
        n, c, h, w = shape_of(x)
        attributes, (h, w) = _window(h, w, kernel, stride, pad=pad)
        return self._emit("MaxPool", [x], (n, c, h, w), attributes)

    def average_pool(
        self, x: ir.Value, kernel: int, *, stride: int = 1, pad: int | None = None
    ) -> ir.Value:
        """Mean of each window; padding, by default `kernel // 2`, does not count."""
        n, c, h, w = shape_of(x)
        attributes, (h, w) = _window(h, w, kernel, stride, pad=pad)
        attributes["count_include_pad"] = 0
        return self._emit("AveragePool", [x], (n, c, h, w), attributes)

    def batch_norm(self, x: ir.Value, *, name: str) -> ir.Value:
        """Batch normalisation with running statistics (inference form)."""
        parts = ("scale", "bias", "mean", "variance")
        weights = [self.weight(f"{name}/{part}", shape_of(x)[1:2]) for part in parts]
        epsilon = {"epsilon": BATCH_NORM_EPSILON}
        return self._emit("BatchNormalization", [x, *weights], shape_of(x), epsilon, name=name)

    def relu(self, x: ir.Value) -> ir.Value:
        """max(x, 0)."""
        return self._emit("Relu", [x], shape_of(x))

    def relu6(self, x: ir.Value) -> ir.Value:
        """min(max(x, 0), 6), as a `Clip`."""
        return self._emit("Clip", [x, self._constant(0.0), self._constant(6.0)], shape_of(x))

    def hard_swish(self, x: ir.Value) -> ir.Value:
        """`x * hard_sigmoid(x)` (Howard et al., Searching for MobileNetV3, 2019)."""
        return self._emit("HardSwish", [x], shape_of(x))

    def hard_sigmoid(self, x: ir.Value) -> ir.Value:
        """max(0, min(1, x / 6 + 1 / 2))."""
        return self._emit("HardSigmoid", [x], shape_of(x), {"alpha": 1.0 / 6.0, "beta": 0.5})

    def add(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Element-wise sum of equal shapes."""
        if shape_of(x) != shape_of(y):
            raise LoweringError(f"{self._scope}add: shapes {shape_of(x)} and {shape_of(y)} differ")
        return self._emit("Add", [x, y], shape_of(x))

    def mul(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Element-wise product; shapes broadcast as in NumPy."""
        shape = tuple(int(side) for side in np.broadcast_shapes(shape_of(x), shape_of(y)))
        return self._emit("Mul", [x, y], shape)

    def zeros_like(self, x: ir.Value) -> ir.Value:
        """Zeros of the shape of `x`, as a product with 0."""
        return self._emit("Mul", [x, self._constant(0.0)], shape_of(x))

    def concat(self, values: Sequence[ir.Value]) -> ir.Value:
        """The values one after another along the channels; all other sides are equal.

        Raises:
            LoweringError: No values, or other sides differ.
        """
        shapes = [shape_of(value) for value in values]
        if len({(shape[:1], shape[2:]) for shape in shapes}) != 1:
            raise LoweringError(
                f"{self._scope}concat: shapes {shapes} do not agree in all sides but the channels"
            )
        n, _, *rest = shapes[0]
        shape = (n, sum(shape[1] for shape in shapes), *rest)
        return self._emit("Concat", values, shape, {"axis": 1})

    def crop(self, x: ir.Value, side: int = 1) -> ir.Value:
        """The image without its first `side` rows and columns.

        Raises:
            LoweringError: Nothing would be left.
        """
        n, c, h, w = shape_of(x)
        if min(h, w) <= side:
            raise LoweringError(f"{self._scope}crop: {h} x {w} less {side} leaves nothing")
        starts, ends = self._integers((side, side)), self._integers((_END, _END))
        axes = self._integers((2, 3))
        return self._emit("Slice", [x, starts, ends, axes], (n, c, h - side, w - side))

    def channel_shuffle(self, x: ir.Value, groups: int) -> ir.Value:
        """Channels dealt out in turns: the first of each group, then the second of each, ...

        Zhang et al., ShuffleNet, CVPR 2018, figure 1. The batch axis keeps any length.

        Raises:
            LoweringError: The channels do not divide into the groups.
        """
        n, c, h, w = shape_of(x)
        if c % groups:
            raise LoweringError(f"{self._scope}shuffle: {c} channels do not divide by {groups}")
        apart, dealt = (n, groups, c // groups, h, w), (n, c // groups, groups, h, w)
        y = self._emit("Reshape", [x, self._integers((0, *apart[1:]))], apart)
        y = self._emit("Transpose", [y], dealt, {"perm": (0, 2, 1, 3, 4)})
        return self._emit("Reshape", [y, self._integers((0, c, h, w))], (n, c, h, w))

    def global_average_pool(self, x: ir.Value) -> ir.Value:
        """Mean over height and width, kept as 1 x 1."""
        n, c, _, _ = shape_of(x)
        return self._emit("GlobalAveragePool", [x], (n, c, 1, 1))

    def flatten(self, x: ir.Value) -> ir.Value:
        """Everything after the batch axis in one axis."""
        n, *rest = shape_of(x)
        return self._emit("Flatten", [x], (n, int(np.prod(rest))), {"axis": 1})

    def gemm(self, x: ir.Value, features: int, *, name: str) -> ir.Value:
        """Fully connected layer with bias; the weight is stored as `(features, inputs)`."""
        n, width = shape_of(x)
        weight = self.weight(f"{name}/weight", (features, width))
        bias = self.weight(f"{name}/bias", (features,))
        return self._emit("Gemm", [x, weight, bias], (n, features), {"transB": 1}, name=name)

    def weight(self, name: str, shape: Shape) -> ir.Value:
        """Declare a weight of this scope; the same name twice is the same weight.

        Raises:
            LoweringError: The name was declared before with another shape.
        """
        full = f"{self._scope}{name}"
        known = self._weights.get(full)
        if known is None:
            known = ir.Value(name=full, shape=ir.Shape(shape), type=_FLOAT)
            known.meta[WEIGHT_MARK] = True
            self._weights[full] = known
        elif shape_of(known) != shape:
            raise LoweringError(
                f"weight {full!r} has shape {shape_of(known)} and was asked for as {shape}"
            )
        return known

    def _constant(self, value: float) -> ir.Value:
        known = self._constants.get(value)
        if known is None:
            name = f"constant/{value:g}"
            tensor = ir.tensor(np.asarray(value, dtype=np.float32), name=name)
            known = ir.Value(name=name, shape=ir.Shape(()), type=_FLOAT, const_value=tensor)
            self._constants[value] = known
        return known

    def _integers(self, values: tuple[int, ...]) -> ir.Value:
        """A vector that is part of the graph's structure; an initializer would count as weight."""
        shape = (len(values),)
        return self._emit("Constant", [], shape, {"value_ints": values}, dtype=ir.DataType.INT64)

    def _emit(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        shape: Shape,
        attributes: Mapping[str, int | float | tuple[int, ...]] | None = None,
        *,
        name: str = "",
        dtype: ir.DataType = ir.DataType.FLOAT,
    ) -> ir.Value:
        stem = f"{self._scope}{name or op_type.lower()}"
        count = self._names.get(stem, 0)
        self._names[stem] = count + 1
        label = stem if count == 0 else f"{stem}.{count}"
        result = ir.Value(name=label, shape=ir.Shape(shape), type=_TYPES[dtype])
        made = [_attribute(key, value) for key, value in (attributes or {}).items()]
        self._nodes.append(ir.Node("", op_type, inputs, made, outputs=[result], name=label))
        return result


def _window(
    height: int,
    width: int,
    kernel: int,
    stride: int,
    dilation: int = 1,
    pad: int | None = None,
) -> tuple[Attributes, tuple[int, int]]:
    """Attributes of a square window with padding, and the sides of the result."""
    pad = kernel // 2 * dilation if pad is None else pad
    reach = dilation * (kernel - 1) + 1
    attributes: Attributes = {
        "kernel_shape": (kernel, kernel),
        "strides": (stride, stride),
        "pads": (pad, pad, pad, pad),
    }
    rows, columns = ((side + 2 * pad - reach) // stride + 1 for side in (height, width))
    return attributes, (rows, columns)


@lru_cache(maxsize=4096, typed=True)
def _attribute(name: str, value: int | float | tuple[int, ...]) -> ir.Attr:
    """An attribute; they cannot change, so that all nodes share them."""
    if isinstance(value, int):
        return ir.AttrInt64(name, value)
    if isinstance(value, float):
        return ir.AttrFloat32(name, value)
    return ir.AttrInt64s(name, value)
