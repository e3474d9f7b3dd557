"""The operations on the edges of DARTS cells.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, section 3.1.1. Every operation
is `emit(g, x, width, stride)`: `x` has `width` channels, and so has the result; stride 2 halves an
even side.

Differs from the paper: batch normalisation always has learned scales, where the authors' search
network normalises without; a factorised reduction normalises each of its halves, which is the
same function, before they are joined.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from hwnas.graph import GraphBuilder

__all__ = [
    "AVERAGE_POOL_3X3",
    "DILATED_3X3",
    "DILATED_5X5",
    "MAX_POOL_3X3",
    "SEPARABLE_3X3",
    "SEPARABLE_5X5",
    "SKIP_CONNECT",
    "EmitOperation",
    "Operation",
    "preprocess",
]

EmitOperation = Callable[[GraphBuilder, ir.Value, int, int], ir.Value]


@dataclass(frozen=True)
class Operation:
    """What an edge can do.

    Args:
        name: As in the paper.
        emit: Called as `emit(g, x, width, stride)`, returns the result.
        is_parametric: Whether it convolves at every stride. DropNAS groups operations by this;
            skips and pools are not parametric, though they may hold weights of a normalisation
            or a reduction.
    """

    name: str
    emit: EmitOperation
    is_parametric: bool


def preprocess(g: GraphBuilder, x: ir.Value, *, width: int, stride: int) -> ir.Value:
    """ReLU, 1x1 convolution, batch norm; at stride 2 a factorised reduction."""
    y = g.relu(x)
    return _reduced(g, y, width) if stride == 2 else _projected(g, y, width)


def _skip_connect(g: GraphBuilder, x: ir.Value, width: int, stride: int) -> ir.Value:
    return x if stride == 1 else _reduced(g, g.relu(x), width)


def _max_pool(g: GraphBuilder, x: ir.Value, width: int, stride: int) -> ir.Value:  # noqa: ARG001
    return g.batch_norm(g.max_pool(x, 3, stride=stride), name="norm")


def _average_pool(
    g: GraphBuilder,
    x: ir.Value,
    width: int,  # noqa: ARG001 (pools keep their channels)
    stride: int,
) -> ir.Value:
    return g.batch_norm(g.average_pool(x, 3, stride=stride), name="norm")


def _separable(
    g: GraphBuilder,
    x: ir.Value,
    width: int,
    stride: int,
    *,
    kernel: int,
    dilations: tuple[int, ...],
) -> ir.Value:
    """ReLU, depthwise, pointwise, batch norm for each dilation; the first has the stride."""
    for turn, dilation in enumerate(dilations, 1):
        x = g.conv(
            g.relu(x),
            width,
            kernel,
            name=f"depthwise{turn}",
            stride=stride if turn == 1 else 1,
            group=width,
            dilation=dilation,
        )
        x = g.batch_norm(g.conv(x, width, 1, name=f"pointwise{turn}"), name=f"norm{turn}")
    return x


def _projected(g: GraphBuilder, x: ir.Value, width: int) -> ir.Value:
    return g.batch_norm(g.conv(x, width, 1, name="conv"), name="norm")


def _reduced(g: GraphBuilder, x: ir.Value, width: int) -> ir.Value:
    """Half the channels from the even pixels, half from the odd ones: none is lost in both."""
    halves = []
    for name, y in (("even", x), ("odd", g.crop(x))):
        y = g.conv(y, width // 2, 1, name=name, stride=2)
        halves.append(g.batch_norm(y, name=f"{name}_norm"))
    return g.concat(halves)


MAX_POOL_3X3 = Operation("max_pool_3x3", _max_pool, is_parametric=False)
AVERAGE_POOL_3X3 = Operation("avg_pool_3x3", _average_pool, is_parametric=False)
SKIP_CONNECT = Operation("skip_connect", _skip_connect, is_parametric=False)
DILATED_3X3 = Operation(
    "dil_conv_3x3", partial(_separable, kernel=3, dilations=(2,)), is_parametric=True
)
DILATED_5X5 = Operation(
    "dil_conv_5x5", partial(_separable, kernel=5, dilations=(2,)), is_parametric=True
)
SEPARABLE_3X3 = Operation(
    "sep_conv_3x3", partial(_separable, kernel=3, dilations=(1, 1)), is_parametric=True
)
SEPARABLE_5X5 = Operation(
    "sep_conv_5x5", partial(_separable, kernel=5, dilations=(1, 1)), is_parametric=True
)
