"""Layers cut into the streams that the array is fed with, and its values put together again."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.fpga.arithmetic import parameter_words
from hwnas.fpga.cycles import plan_layers
from hwnas.fpga.reference import Int8, QuantisedLayer

__all__ = ["Job", "cut_layer", "join_values"]


@dataclass(frozen=True, eq=False)
class Job:
    """One layer as the array takes it; `side` is N.

    Args:
        pixels: Words of N pixels, `(columns or 1, rows, chunks, depth, N)`: 1 if every tile of
            channels reads the same pixels.
        weights: Words of N channels, `(columns, chunks, depth, N)`.
        parameters: `(columns, N)`, see `parameter_words`.
        zero_point: Of the outputs.
        low: Bound of the outputs.
        high: Bound of the outputs.
        cycles: What the closed form says.
    """

    pixels: Int8
    weights: Int8
    parameters: npt.NDArray[np.uint64]
    zero_point: int
    low: int
    high: int
    cycles: int

    @property
    def side(self) -> int:
        """N."""
        return int(self.weights.shape[-1])

    @property
    def columns(self) -> int:
        """Tiles of output channels."""
        return int(self.weights.shape[0])

    @property
    def rows(self) -> int:
        """Tiles of pixels."""
        return int(self.pixels.shape[1])


def cut_layer(patches: Int8, layer: QuantisedLayer, side: int) -> Job:
    """Streams of a layer for an array of N x N, by the plan with the fewest cycles.

    Args:
        patches: `(groups, pixels, depth)`.
        layer: The layer.
        side: N.
    """
    groups, pixels, depth = patches.shape
    channels = layer.weights.shape[2]
    plan = plan_layers([layer.shape(pixels)], [side])
    packed, columns, rows, chunks, words = (
        int(part[0, 0]) for part in (plan.packed, plan.columns, plan.rows, plan.chunks, plan.depth)
    )
    shared = -(-groups // packed)  # passes side by side, each with `packed` groups
    wide = columns // shared * side

    seen = np.zeros((shared * packed, rows * side, depth), np.int8)
    seen[:groups, :pixels] = patches
    seen = seen.reshape(shared, packed, rows * side, depth).transpose(0, 2, 1, 3)
    a = np.zeros((shared, rows, side, chunks * words), np.int8)
    a[..., : packed * depth] = seen.reshape(shared, rows, side, packed * depth)
    a = a.reshape(shared, rows, side, chunks, words).transpose(0, 1, 3, 4, 2)
    if shared > 1:
        a = np.repeat(a, columns // shared, axis=0)

    kept = np.zeros((shared * packed, depth, channels), np.int8)
    kept[:groups] = layer.weights
    kept = kept.reshape(shared, packed, depth, channels)
    b = np.zeros((shared, chunks * words, wide), np.int8)
    for group in range(packed):
        deep = slice(group * depth, (group + 1) * depth)
        b[:, deep, group * channels : (group + 1) * channels] = kept[:, group]
    b = b.reshape(shared, chunks, words, columns // shared, side).transpose(0, 3, 1, 2, 4)

    given = np.zeros((shared * packed * channels,), np.uint64)
    given[: groups * channels] = parameter_words(layer.how)
    parameters = np.zeros((shared, wide), np.uint64)
    parameters[:, : packed * channels] = given.reshape(shared, packed * channels)
    return Job(
        np.ascontiguousarray(a),
        np.ascontiguousarray(b.reshape(columns, chunks, words, side)),
        parameters.reshape(columns, side),
        layer.how.zero_point,
        layer.how.low,
        layer.how.high,
        int(plan.cycles[0, 0]),
    )


def join_values(values: Int8, patches: Int8, layer: QuantisedLayer) -> Int8:
    """Outputs `(pixels, groups * channels)` from the values of the array.

    Args:
        values: `(columns, rows, N pixels, N channels)`.
        patches: Those of `cut_layer`.
        layer: The layer.
    """
    columns, rows, side, _ = values.shape
    groups, pixels, _ = patches.shape
    channels = layer.weights.shape[2]
    plan = plan_layers([layer.shape(pixels)], [side])
    packed = int(plan.packed[0, 0])
    shared = -(-groups // packed)
    wide = values.reshape(shared, columns // shared, rows * side, side).transpose(2, 0, 1, 3)
    used = wide.reshape(rows * side, shared, -1)[:, :, : packed * channels]
    return used.reshape(rows * side, -1)[:pixels, : groups * channels]
