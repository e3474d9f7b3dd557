"""Operators of ONNX as torch functions; every attribute is read once, when a function is made."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import LoweringError
from hwnas.graph import shape_of

__all__ = [
    "OPERATORS",
    "Compiled",
    "Function",
    "Normalisation",
    "constant_array",
    "normalisation_of",
    "refused",
]

Function = Callable[..., Tensor]
Compiled = tuple[Function, tuple[ir.Value, ...]]
"""A function, and the values of the graph that it takes."""


class Normalisation(NamedTuple):
    """One batch normalisation of a plan: names of its running statistics, and its attributes."""

    mean: str
    variance: str
    epsilon: float
    momentum: float


def _conv(node: ir.Node) -> Compiled:
    values = _values(node)
    rank = len(shape_of(values[1])) - 2
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}.get(rank)
    if convolve is None:
        raise refused(node, f"it convolves over {rank} axes")
    pad, rest = _pads(node, rank)
    stride = _ints(node, "strides", (1,) * rank)
    dilation = _ints(node, "dilations", (1,) * rank)
    group = _int(node, "group", 1)

    side = max(shape_of(values[1])[2:])
    depthwise = rank == 2 and group > 1 and shape_of(values[1])[1] == 1 and side > 3

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if rest is not None:
            x = functional.pad(x, rest)
        if depthwise and weight.requires_grad and torch.is_grad_enabled():
            y: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
                x, weight, stride, pad, dilation, group
            )
            return y if bias is None else y + bias[:, None, None]
        return convolve(x, weight, bias, stride, pad, dilation, group)

    return run, values


def _conv_transpose(node: ir.Node) -> Compiled:
    values = _values(node)
    if len(shape_of(values[1])) != 4:
        raise refused(node, f"it convolves over {len(shape_of(values[1])) - 2} axes, not 2")
    pad, rest = _pads(node, 2)
    if rest is not None or "output_shape" in node.attributes:
        raise refused(node, "its pads differ between the two ends of an axis; give equal pads")
    stride, dilation = _ints(node, "strides", (1, 1)), _ints(node, "dilations", (1, 1))
    more, group = _ints(node, "output_padding", (0, 0)), _int(node, "group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.conv_transpose2d(x, weight, bias, stride, pad, more, group, dilation)

    return run, values


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose weight gradient is computed channels-last.

    On CPU oneDNN's gradient for kernels above 3 takes 2 to 3 times as long in NCHW (torch 2.13:
    5x5 at 96x16x16, batch 64: 16.5 ms against 9.6 ms; 7x7: 33.8 ms against 13.4 ms), and is three
    quarters of a training step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: tuple[int, ...],
        pad: tuple[int, ...],
        dilation: tuple[int, ...],
        group: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = (stride, pad, dilation, False, (0, 0), group)
        return functional.conv2d(x, weight, None, stride, pad, dilation, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        derive = torch.ops.aten.convolution_backward
        x_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = derive(grad, x, weight, None, *ctx.shape, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            last = torch.channels_last
            parts = (grad.contiguous(memory_format=last), x.contiguous(memory_format=last))
            weight_grad = derive(*parts, weight, None, *ctx.shape, (False, True, False))[1]
        return x_grad, weight_grad, None, None, None, None


def _batch_normalization(node: ir.Node) -> Compiled:
    if _int(node, "training_mode", 0):
        raise refused(node, "it is in training mode")
    which = normalisation_of(node)
    assert which is not None
    epsilon, momentum = which.epsilon, which.momentum

    def run(
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        *,
        training: bool,
    ) -> Tensor:
        return functional.batch_norm(x, mean, variance, scale, bias, training, momentum, epsilon)

    return run, _values(node)


def normalisation_of(node: ir.Node) -> Normalisation | None:
    """What a batch normalisation needs to know; None for any other operator."""
    if node.op_type != "BatchNormalization":
        return None
    values = _values(node)
    return Normalisation(
        values[3].name or "",
        values[4].name or "",
        _float(node, "epsilon", 1e-5),
        1.0 - _float(node, "momentum", 0.9),  # ONNX weighs the old value, torch the new one
    )


def _clip(node: ir.Node) -> Compiled:
    bounds: list[float | None] = []
    slots = node.inputs[1:]
    for index, name in enumerate(("min", "max")):
        bound = slots[index] if index < len(slots) else None
        if bound is not None:
            if bound.const_value is None:
                raise refused(node, f"its {name} is not a constant")
            bounds.append(float(constant_array(bound).item()))
        elif name in node.attributes:
            bounds.append(node.attributes[name].as_float())
        else:
            bounds.append(None)
    low, high = bounds
    x = _values(node)[:1]
    if (low, high) == (0.0, 6.0):
        return functional.relu6, x
    if low is None and high is None:
        return _same, x
    return (lambda v: torch.clamp(v, low, high)), x


def _hard_sigmoid(node: ir.Node) -> Compiled:
    alpha, beta = _float(node, "alpha", 0.2), _float(node, "beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid, _values(node)
    return (lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)), _values(node)


def _gemm(node: ir.Node) -> Compiled:
    alpha, beta = _float(node, "alpha", 1.0), _float(node, "beta", 1.0)
    left, right = _int(node, "transA", 0), _int(node, "transB", 0)
    if (alpha, beta, left, right) == (1.0, 1.0, 0, 1):
        return functional.linear, _values(node)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = alpha * ((a.mT if left else a) @ (b.mT if right else b))
        return product if c is None else product + beta * c

    return run, _values(node)


def _max_pool(node: ir.Node) -> Compiled:
    kernel, stride, pad, rest, ceil = _pooling(node)
    dilation = _ints(node, "dilations", (1, 1))

    def run(x: Tensor) -> Tensor:
        if rest is not None:
            x = functional.pad(x, rest, value=float("-inf"))
        return functional.max_pool2d(x, kernel, stride, pad, dilation, ceil)

    return run, _values(node)


def _average_pool(node: ir.Node) -> Compiled:
    kernel, stride, pad, rest, ceil = _pooling(node)
    counted = bool(_int(node, "count_include_pad", 0))
    if rest is not None or any(side != 1 for side in _ints(node, "dilations", (1, 1))):
        raise refused(node, "its pads differ between the two ends of an axis, or it is dilated")
    return (lambda x: functional.avg_pool2d(x, kernel, stride, pad, ceil, counted)), _values(node)


def _pooling(
    node: ir.Node,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...] | None, bool]:
    kernel = _ints(node, "kernel_shape", ())
    if len(kernel) != 2:
        raise refused(node, f"it pools over {len(kernel)} axes")
    pad, rest = _pads(node, 2)
    return kernel, _ints(node, "strides", (1, 1)), pad, rest, bool(_int(node, "ceil_mode", 0))


def _flatten(node: ir.Node) -> Compiled:
    axis = _int(node, "axis", 1)
    if axis == 1:
        return (lambda x: torch.flatten(x, 1)), _values(node)
    return (lambda x: x.reshape(int(np.prod(x.shape[:axis])), -1)), _values(node)


def _reshape(node: ir.Node) -> Compiled:
    x, target = _values(node)[:2]
    shape = [int(side) for side in _fixed(target, node)]
    if shape and shape[0] == shape_of(x)[0] and -1 not in shape[1:]:
        shape[0] = -1  # the leading axis is the batch, which may have any length here
    if 0 in shape:
        if _int(node, "allowzero", 0):
            raise refused(node, "it has a side of 0")
        shape = [shape_of(x)[i] if side == 0 and i else side for i, side in enumerate(shape)]
        if shape[0] == 0:
            return (lambda v: v.reshape(v.shape[0], *shape[1:])), (x,)
    return (lambda v: v.reshape(shape)), (x,)


def _transpose(node: ir.Node) -> Compiled:
    rank = len(shape_of(_values(node)[0]))
    order = _ints(node, "perm", tuple(reversed(range(rank))))
    return (lambda x: x.permute(order)), _values(node)


def _concat(node: ir.Node) -> Compiled:
    axis = _int(node, "axis", 1)
    return (lambda *parts: torch.cat(parts, axis)), _values(node)


def _constant(node: ir.Node) -> Compiled:
    value = torch.from_numpy(_fixed(node.outputs[0], node).copy())
    return (lambda: value), ()


def _slice(node: ir.Node) -> Compiled:
    x, *rest = _values(node)
    if len(node.inputs) != len(rest) + 1:
        raise refused(node, "it leaves out an input before the last")
    starts, ends, axes, steps = (
        _fixed(rest[i], node).tolist() if i < len(rest) else None for i in range(4)
    )
    if starts is None or ends is None:
        raise refused(node, "it has no starts or ends")
    if any(step != 1 for step in steps or ()):
        raise refused(node, f"its steps are {steps}, not 1")
    rank = len(shape_of(x))
    index = [slice(None)] * rank
    for axis, start, end in zip(axes or range(len(starts)), starts, ends, strict=True):
        index[axis] = slice(start, end)
    cut = tuple(index)
    return (lambda v: v[cut]), (x,)


def _fixed(value: ir.Value, reader: ir.Node) -> npt.NDArray[Any]:
    """A constant of the graph: an initializer, or the result of a `Constant` of integers."""
    if value.const_value is not None:
        return value.const_value.numpy()
    producer = value.producer()
    if producer is not None and producer.op_type == "Constant":
        if "value_ints" in producer.attributes:
            return np.array(producer.attributes["value_ints"].as_ints(), dtype=np.int64)
        if "value" in producer.attributes:
            return producer.attributes["value"].as_tensor().numpy()
    raise refused(reader, f"{value.name!r} is not a constant")


def _same(x: Tensor) -> Tensor:
    return x


def _global_average(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _plain(function: Function) -> Callable[[ir.Node], Compiled]:
    return lambda node: (function, _values(node))


OPERATORS: dict[str, Callable[[ir.Node], Compiled]] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(_global_average),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(_same),
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Relu": _plain(functional.relu),
    "Reshape": _reshape,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Transpose": _transpose,
}
"""ONNX operator to what compiles a node of it; raises `LoweringError` for what torch cannot do."""


def refused(node: ir.Node, why: str) -> LoweringError:
    """The error that names operator and node."""
    return LoweringError(f"operator {node.op_type!r} of node {node.name!r} cannot run: {why}")


def _values(node: ir.Node) -> tuple[ir.Value, ...]:
    found = list(node.inputs)
    while found and found[-1] is None:
        found.pop()
    return tuple(value for value in found if value is not None)


def constant_array(value: ir.Value) -> npt.NDArray[np.float32]:
    """Value of a constant."""
    assert value.const_value is not None
    return value.const_value.numpy()


def _pads(node: ir.Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Padding that both ends share, and what `functional.pad` must add before, if they differ."""
    mode = node.attributes.get("auto_pad")
    if mode is not None and mode.as_string() not in ("NOTSET", "VALID"):
        raise refused(node, f"auto_pad {mode.as_string()!r}; give explicit pads")
    pads = _ints(node, "pads", (0,) * (2 * rank))
    begin, end = pads[:rank], pads[rank:]
    if begin == end:
        return begin, None
    rest = tuple(side for pair in reversed(list(zip(begin, end, strict=True))) for side in pair)
    return (0,) * rank, rest


def _int(node: ir.Node, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def _float(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else found.as_float()


def _ints(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = node.attributes.get(name)
    return default if found is None else tuple(found.as_ints())
