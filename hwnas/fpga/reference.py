"""NumPy model of quantised layers: sums by matrix products over patches, then requantisation.

Weights are symmetric (zero point 0), as ONNX Runtime's static quantisation makes them for int8.
Inputs have a zero point, which padding takes and which is taken off through the bias:

    sum_t w_t (x_t - z) = sum_t w_t x_t - z sum_t w_t
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import LoweringError
from hwnas.fpga.arithmetic import Requantisation, requantise
from hwnas.fpga.layers import ArrayLayer

__all__ = ["QuantisedLayer", "convolution_patches", "reference_outputs"]

Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class QuantisedLayer:
    """Weights of a layer, ready for the array.

    Args:
        weights: `(groups, depth, channels)` int8.
        how: Requantisation with `groups * channels` channels, zero point of inputs in the bias.
    """

    weights: Int8
    how: Requantisation

    def __post_init__(self) -> None:
        if self.weights.ndim != 3 or self.weights.dtype != np.int8:
            raise LoweringError(f"weights are {self.weights.dtype} {self.weights.shape}")
        groups, _, channels = self.weights.shape
        if self.how.scale.shape != (groups * channels,):
            raise LoweringError(
                f"{self.how.scale.shape[0]} scales for {groups} groups of {channels} channels"
            )

    def shape(self, pixels: int) -> ArrayLayer:
        """The layer at so many output places."""
        groups, depth, channels = self.weights.shape
        return ArrayLayer(pixels, depth, channels, groups)


def reference_outputs(patches: Int8, layer: QuantisedLayer) -> Int8:
    """Outputs `(pixels, groups * channels)`.

    Args:
        patches: `(groups, pixels, depth)`.
        layer: The layer.
    """
    groups, depth, channels = layer.weights.shape
    if patches.ndim != 3 or patches.shape[::2] != (groups, depth):
        raise LoweringError(
            f"patches are {patches.shape}; {groups} groups of depth {depth} are needed"
        )
    # Products of int8 are below 2^14, so float64 sums of up to 2^38 of them are exact.
    sums = patches.astype(np.float64) @ layer.weights.astype(np.float64)
    flat = np.moveaxis(sums, 0, 1).reshape(-1, groups * channels)
    return requantise(flat.astype(np.int64), layer.how)


def convolution_patches(
    images: Int8,
    kernel: Sequence[int],
    *,
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    zero_point: int,
) -> Int8:
    """What each output place of a convolution sees, `(groups, pixels, channels * R * S)`.

    Args:
        images: `(batch, channels, height, width)`.
        kernel: R and S.
        strides: Down and across.
        pads: Top, left, bottom, right, as in ONNX.
        dilations: Down and across.
        groups: Of channels.
        zero_point: Of the images; padding is zero in real numbers.
    """
    top, left, bottom, right = pads
    border = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(images, border, constant_values=np.int8(zero_point))
    reach = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    batch, channels, height, width = windows.shape[:4]
    grouped = windows.reshape(batch, groups, channels // groups, height, width, *kernel)
    ordered = grouped.transpose(1, 0, 3, 4, 2, 5, 6)
    return np.ascontiguousarray(ordered.reshape(groups, batch * height * width, -1))
