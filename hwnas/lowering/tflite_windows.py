"""Operators with windows, convolutions and poolings, as operators of TensorFlow Lite.

Codes and options go by their names in LiteRT's `schema.fbs`, versions by `op_version.cc`.

Its padding `SAME` gives the odd row to the end, ONNX's pads are the same on both sides: at a
stride of 2 the two differ, and the image is padded by an operator of its own, which XNNPACK fuses
into a convolution.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from hwnas.lowering.tflite_lowering import (
    TfliteLowering,
    constant_tensor,
    int_attribute,
    ints_attribute,
    refused,
    result_shape,
)
from hwnas.lowering.tflite_network import Options, TfliteTensor

__all__ = ["average_pool", "conv", "conv_transpose", "max_pool"]

SAME, VALID = 0, 1
"""Values of `Padding` in the schema."""


def conv(lowering: TfliteLowering, node: ir.Node) -> None:
    """A convolution."""
    x = lowering.first(node)
    kernel = lowering.weight(node, 1)
    if kernel.ndim != 4:
        raise refused(node, f"it convolves over {kernel.ndim - 2} axes, 2 can be written")
    channels, per_group, *sides = kernel.shape
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = lowering.weight(node, 2) if has_bias else np.zeros(channels, np.float32)
    group, dilation = int_attribute(node, "group", 1), ints_attribute(node, "dilations", (1, 1))
    reach = [d * (side - 1) + 1 for d, side in zip(dilation, sides, strict=True)]
    x, options = _window(lowering, node, x, reach, ints_attribute(node, "strides", (1, 1)))
    options |= {"dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
    depthwise = per_group == 1 and group > 1
    if depthwise:
        options["depthMultiplier"] = channels // group
        kernel = kernel.transpose(1, 2, 3, 0)
    else:
        kernel = kernel.transpose(0, 2, 3, 1)
    operands = [
        x,
        constant_tensor(f"{node.name}/kernel", kernel),
        constant_tensor(f"{node.name}/bias", bias),
    ]
    if depthwise:
        version = 2 if max(dilation) > 1 else 1
        lowering.emit(
            node, "DEPTHWISE_CONV_2D", operands, result_shape(node), options, version=version
        )
    else:
        version = 6 if group > 1 else 1
        lowering.emit(node, "CONV_2D", operands, result_shape(node), options, version=version)


def conv_transpose(lowering: TfliteLowering, node: ir.Node) -> None:
    """A transposed convolution whose squares lie side by side."""
    x = lowering.first(node)
    kernel = lowering.weight(node, 1)
    plain = {"pads": 0, "output_padding": 0, "dilations": 1, "group": 1}
    given = {name: node.attributes[name].value for name in plain if name in node.attributes}
    if kernel.ndim != 4 or any(np.any(np.not_equal(v, plain[k])) for k, v in given.items()):
        raise refused(node, "only two axes without pads, dilation and groups can be written")
    channels = kernel.shape[1]
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = lowering.weight(node, 2) if has_bias else np.zeros(channels, np.float32)
    shape, stride = result_shape(node), ints_attribute(node, "strides", (1, 1))
    operands = [
        constant_tensor(f"{node.name}/shape", np.array(shape, np.int32)),
        constant_tensor(f"{node.name}/kernel", kernel.transpose(1, 2, 3, 0)),
        x,
        constant_tensor(f"{node.name}/bias", bias),
    ]
    options: Options = {"padding": VALID, "strideH": stride[0], "strideW": stride[1]}
    lowering.emit(node, "TRANSPOSE_CONV", operands, shape, options, version=3)


def average_pool(lowering: TfliteLowering, node: ir.Node) -> None:
    """The mean of each window; padding counts only where ONNX counts it."""
    x = lowering.first(node)
    kernel, stride = _pooling(node)
    before = x
    x, options = _window(lowering, node, x, kernel, stride)
    options |= {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    if x is before or int_attribute(node, "count_include_pad", 0):
        lowering.emit(node, "AVERAGE_POOL_2D", [x], result_shape(node), options)
        return
    inside = np.zeros(x.shape[1:3], np.float32)
    top, left, *_ = ints_attribute(node, "pads", (0, 0, 0, 0))
    inside[top : top + before.shape[1], left : left + before.shape[2]] = 1
    windows = np.lib.stride_tricks.sliding_window_view(inside, tuple(kernel))
    counts = windows[:: stride[0], :: stride[1]].sum((2, 3))
    factor = (kernel[0] * kernel[1] / counts).astype(np.float32)[None, :, :, None]
    mean = lowering.emit(
        node, "AVERAGE_POOL_2D", [x], result_shape(node), options, suffix="with_padding"
    )
    factors = constant_tensor(f"{node.name}/per_count", factor)
    lowering.emit(node, "MUL", [mean, factors], result_shape(node))


def max_pool(lowering: TfliteLowering, node: ir.Node) -> None:
    """The largest value of each window."""
    kernel, stride = _pooling(node)
    lowest = float(np.finfo(np.float32).min)
    x, options = _window(lowering, node, lowering.first(node), kernel, stride, fill=lowest)
    options |= {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    lowering.emit(node, "MAX_POOL_2D", [x], result_shape(node), options)


def _pooling(node: ir.Node) -> tuple[Sequence[int], Sequence[int]]:
    kernel, dilation = (
        ints_attribute(node, "kernel_shape", ()),
        ints_attribute(node, "dilations", (1, 1)),
    )
    if len(kernel) != 2 or any(d != 1 for d in dilation) or int_attribute(node, "ceil_mode", 0):
        raise refused(node, "only undilated windows over 2 axes that round down can be written")
    return kernel, ints_attribute(node, "strides", (1, 1))


def _window(
    lowering: TfliteLowering,
    node: ir.Node,
    x: TfliteTensor,
    reach: Sequence[int],
    stride: Sequence[int],
    fill: float = 0.0,
) -> tuple[TfliteTensor, Options]:
    """The image, padded if `SAME` would pad it otherwise, and padding and stride of the window."""
    mode = node.attributes.get("auto_pad")
    if mode is not None and mode.as_string() not in ("NOTSET", "VALID"):
        raise refused(node, f"auto_pad {mode.as_string()!r}; give explicit pads")
    pads = ints_attribute(node, "pads", (0, 0, 0, 0))
    begin, end = pads[:2], pads[2:]
    options: Options = {"strideH": stride[0], "strideW": stride[1]}
    same = []
    for side, span, step in zip(x.shape[1:3], reach, stride, strict=True):
        total = max((-(-side // step) - 1) * step + span - side, 0)
        same.append((total // 2, total - total // 2))
    if list(zip(begin, end, strict=True)) == same:
        return x, options | {"padding": SAME}
    options["padding"] = VALID
    if not any(pads):
        return x, options
    widths = np.array([(0, 0), *zip(begin, end, strict=True), (0, 0)], dtype=np.int32)
    shape = tuple(side + sum(pair) for side, pair in zip(x.shape, widths.tolist(), strict=True))
    operands = [x, constant_tensor(f"{node.name}/pads", widths)]
    code = "PAD"
    if fill:
        code = "PADV2"
        operands.append(constant_tensor(f"{node.name}/fill", np.array(fill, np.float32)))
    return lowering.emit(node, code, operands, shape, suffix="padded"), options
