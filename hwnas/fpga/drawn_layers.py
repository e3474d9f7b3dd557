"""Layers with drawn numbers, with which models of the array are held against each other."""

import numpy as np

from hwnas.fpga.arithmetic import INT8, Requantisation
from hwnas.fpga.cycles import DEEPEST_PASS
from hwnas.fpga.layers import ArrayLayer
from hwnas.fpga.reference import Int8, QuantisedLayer

__all__ = ["SHAPE_CLASSES", "draw_layer", "draw_shape"]

SHAPE_CLASSES = ("pointwise", "dense", "depthwise", "grouped", "product", "deep", "tiny")
"""Kinds of layers that are cut into passes in different ways."""

_PRODUCT_SPREAD = 74.0**2  # standard deviation of a product of two uniform int8
_OUTPUT_SPREAD = 60.0


def draw_shape(kind: str, rng: np.random.Generator) -> ArrayLayer:
    """A shape of a class.

    Args:
        kind: One of `SHAPE_CLASSES`.
        rng: Draws it.

    Raises:
        ValueError: There is no such class.
    """
    pixels = int(rng.integers(1, 200))
    channels = int(rng.integers(1, 65))
    window = int(rng.choice((9, 25, 49)))
    match kind:
        case "pointwise":
            return ArrayLayer(pixels, int(rng.integers(1, 129)), channels)
        case "dense":
            return ArrayLayer(pixels, window * int(rng.integers(1, 17)), channels)
        case "depthwise":
            return ArrayLayer(pixels, window, 1, channels)
        case "grouped":
            groups = int(rng.integers(2, 9))
            return ArrayLayer(pixels, int(rng.integers(1, 65)), int(rng.integers(1, 13)), groups)
        case "product":
            return ArrayLayer(1, int(rng.integers(1, DEEPEST_PASS)), channels)
        case "deep":
            depth = int(rng.integers(DEEPEST_PASS, 3 * DEEPEST_PASS))
            return ArrayLayer(int(rng.integers(1, 20)), depth, int(rng.integers(1, 20)))
        case "tiny":
            return ArrayLayer(*(int(number) for number in rng.integers(1, 4, 4)))
    raise ValueError(f"no class {kind!r} of shapes; there are {', '.join(SHAPE_CLASSES)}")


def draw_layer(shape: ArrayLayer, rng: np.random.Generator) -> tuple[Int8, QuantisedLayer]:
    """Patches `(groups, pixels, depth)` and a layer whose outputs spread over int8.

    Some layers have bounds, as a ReLU gives them, and some scales are so large that outputs end at
    the bounds.
    """
    low, high = INT8
    size = (shape.groups, shape.pixels, shape.depth)
    patches = rng.integers(low, high + 1, size, dtype=np.int8)
    weights = rng.integers(-high, high + 1, (*size[::2], shape.channels), dtype=np.int8)
    spread = _PRODUCT_SPREAD * np.sqrt(shape.depth)
    channels = shape.groups * shape.channels
    scale = _OUTPUT_SPREAD / spread * rng.uniform(0.2, 4.0, channels)
    bias = rng.integers(-int(spread), int(spread) + 1, channels)
    zero_point = int(rng.integers(low, high + 1))
    how = Requantisation(
        bias,
        scale.astype(np.float32),
        zero_point,
        low=zero_point if rng.random() < 0.5 else low,
    )
    return patches, QuantisedLayer(weights, how)
