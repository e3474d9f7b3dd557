"""The inverted residual block and the plain layers around it.

Sandler et al., MobileNetV2, CVPR 2018; squeeze-and-excitation inside the block as in Howard et
al., Searching for MobileNetV3, ICCV 2019: on the expanded channels, after the depthwise
convolution.
"""

import onnx_ir as ir

from hwnas.graph import GraphBuilder, shape_of

__all__ = ["classifier", "conv_unit", "inverted_residual", "make_divisible", "network_input"]


def make_divisible(width: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor` that is not more than a tenth below `width` (MobileNetV2)."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def network_input(g: GraphBuilder, *, channels: int, resolution: int) -> ir.Value:
    """The image: `(1, channels, resolution, resolution)`."""
    return g.input("input", (1, channels, resolution, resolution))


def conv_unit(
    g: GraphBuilder,
    x: ir.Value,
    *,
    width: int,
    kernel: int = 1,
    stride: int = 1,
    activation: str | None = "relu",
) -> ir.Value:
    """Convolution, batch norm, activation."""
    y = g.conv(x, width, kernel, stride=stride, name="conv")
    return _activate(g, g.batch_norm(y, name="norm"), activation)


def inverted_residual(
    g: GraphBuilder,
    x: ir.Value,
    *,
    width: int,
    kernel: int,
    expand: int,
    stride: int = 1,
    activation: str = "relu",
    squeeze_excite: bool = False,
    operator: tuple[int, ...] | None = None,
) -> ir.Value:
    """Expand by a 1x1, convolve depthwise, project by a 1x1; add the input where shapes allow.

    Args:
        g: Builder.
        x: `(n, c, h, w)`.
        width: Channels of the result.
        kernel: Side of the depthwise kernel.
        expand: Ratio of expanded to input channels; 1 leaves the expansion out.
        stride: Of the depthwise convolution.
        activation: `relu`, `relu6` or `hard_swish`.
        squeeze_excite: Whether to rescale channels by their global context.
        operator: `(kernel, expand)` as one option, in place of the two; `()` is the skip.
    """
    if operator is not None:
        if not operator:
            return x
        kernel, expand = operator
    channels = shape_of(x)[1]
    inner = channels if expand == 1 else make_divisible(channels * expand)
    y = x
    if expand != 1:
        y = g.batch_norm(g.conv(y, inner, 1, name="expand"), name="expand_norm")
        y = _activate(g, y, activation)
    y = g.conv(y, inner, kernel, stride=stride, group=inner, name="depthwise")
    y = _activate(g, g.batch_norm(y, name="depthwise_norm"), activation)
    if squeeze_excite:
        y = _squeeze_excite(g, y)
    y = g.batch_norm(g.conv(y, width, 1, name="project"), name="project_norm")
    return g.add(y, x) if stride == 1 and channels == width else y


def classifier(
    g: GraphBuilder, x: ir.Value, *, classes: int, mix: int = 0, activation: str = "hard_swish"
) -> ir.Value:
    """Global average pooling, an optional 1x1 mixing layer, and the linear classifier."""
    y = g.global_average_pool(x)
    if mix:
        y = _activate(g, g.conv(y, mix, 1, name="mix", bias=True), activation)
    return g.gemm(g.flatten(y), classes, name="classifier")


def _squeeze_excite(g: GraphBuilder, x: ir.Value) -> ir.Value:
    channels = shape_of(x)[1]
    y = g.global_average_pool(x)
    y = g.relu(g.conv(y, make_divisible(channels / 4), 1, name="squeeze", bias=True))
    y = g.hard_sigmoid(g.conv(y, channels, 1, name="excite", bias=True))
    return g.mul(x, y)


def _activate(g: GraphBuilder, x: ir.Value, activation: str | None) -> ir.Value:
    if activation is None:
        return x
    result: ir.Value = getattr(g, activation)(x)
    return result
