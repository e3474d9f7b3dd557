"""What the array works on: a layer as products of matrices, one a group of channels."""

from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph import Graph, shape_of

__all__ = ["ArrayLayer", "array_layer", "array_layers"]


@dataclass(frozen=True)
class ArrayLayer:
    """One convolution or matrix product.

    For each of `groups`: `pixels` outputs places, `depth` terms a sum, `channels` outputs a place.
    A convolution with kernel R x S has `depth = R S C / groups` and `channels = K / groups`.
    """

    pixels: int
    depth: int
    channels: int
    groups: int = 1

    def __post_init__(self) -> None:
        if min(self.pixels, self.depth, self.channels, self.groups) < 1:
            raise LoweringError(f"{self} is empty; every number must be at least 1")

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.pixels * self.depth * self.channels * self.groups


def array_layer(node: ir.Node) -> ArrayLayer | None:
    """The layer that an operator is, or None where the array has no part in it.

    `Conv` and `ConvTranspose` of any kernel, stride, dilation and group, `Gemm`, and `MatMul` with
    a batch of products as groups. A transposed convolution whose kernel is not larger than its
    stride is a product for each input place; others are convolutions of an input with zeros
    between.

    Raises:
        LoweringError: A shape is not known.
    """
    if node.op_type == "Conv":
        output, weight = shape_of(node.outputs[0]), shape_of(_input(node, 1))
        groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
        pixels = output[0] * prod(output[2:])
        return ArrayLayer(pixels, prod(weight[1:]), weight[0] // groups, groups)
    if node.op_type == "ConvTranspose":
        return _transposed(node)
    if node.op_type == "Gemm":
        output, left = shape_of(node.outputs[0]), shape_of(_input(node, 0))
        transposed = node.attributes.get("transA")
        depth = left[0] if transposed is not None and transposed.as_int() else left[1]
        return ArrayLayer(output[0], depth, output[1])
    if node.op_type == "MatMul":
        output = shape_of(node.outputs[0])
        left, right = shape_of(_input(node, 0)), shape_of(_input(node, 1))
        if len(right) <= 2:  # one matrix for all: rows of the batch are pixels
            channels = right[1] if len(right) == 2 else 1
            return ArrayLayer(prod(output) // channels, left[-1], channels)
        rows = left[-2] if len(left) > 1 else 1
        return ArrayLayer(rows, left[-1], right[-1], prod(output) // (rows * right[-1]))
    return None


def array_layers(graph: Graph) -> list[ArrayLayer]:
    """Layers of a graph in its order."""
    return [layer for node in graph.nodes if (layer := array_layer(node)) is not None]


def _transposed(node: ir.Node) -> ArrayLayer:
    """Weights are `(C, K / groups, R, S)`."""
    image, output = shape_of(_input(node, 0)), shape_of(node.outputs[0])
    weight = shape_of(_input(node, 1))
    groups = node.attributes["group"].as_int() if "group" in node.attributes else 1
    window = weight[2:]
    ones = (1,) * len(window)
    strides = node.attributes["strides"].as_ints() if "strides" in node.attributes else ones
    spread = node.attributes["dilations"].as_ints() if "dilations" in node.attributes else ones
    reach = [gap * (side - 1) + 1 for gap, side in zip(spread, window, strict=True)]
    depth = weight[0] // groups
    if all(far <= step for far, step in zip(reach, strides, strict=True)):
        places = image[0] * prod(image[2:])
        return ArrayLayer(places, depth, weight[1] * prod(window), groups)
    return ArrayLayer(output[0] * prod(output[2:]), depth * prod(window), weight[1], groups)


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None  # mandatory in ONNX
    return value
