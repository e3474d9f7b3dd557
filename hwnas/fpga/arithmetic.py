"""int32 sums to int8, as ONNX Runtime does it for quantised convolutions, and how RTL is told.

    clamp(round_even(float32(sum + bias) * scale) + zero_point, low, high)

The sum wraps at 32 bits. Conversion and product round to float32, ties to even. The array of
`targets/ecp5/rtl/` computes the same bits with integers, so a quantised network gives on it
exactly what it gives in ONNX Runtime.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.errors import LoweringError

__all__ = ["SCALE_LIMITS", "Requantisation", "parameter_words", "requantise"]

INT8 = (-128, 127)
SCALE_LIMITS = (2.0**-60, 2.0**60)
"""Scales that the parameter words of the array can hold, with room."""

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Requantisation:
    """How sums of one layer become int8.

    Args:
        bias: `(channels,)` int64, each within int32; the inputs' zero point is folded in.
        scale: `(channels,)` float32, input scale times weight scale over output scale.
        zero_point: Of the outputs.
        low: Smallest output; a ReLU is `low = zero_point`.
        high: Largest output.

    Raises:
        LoweringError: A number is out of range.
    """

    bias: Integers
    scale: npt.NDArray[np.float32]
    zero_point: int = 0
    low: int = INT8[0]
    high: int = INT8[1]

    def __post_init__(self) -> None:
        if self.bias.shape != self.scale.shape or self.bias.ndim != 1:
            raise LoweringError(f"{self.bias.shape} biases for {self.scale.shape} scales")
        if self.bias.size and np.abs(self.bias).max() > 2**31 - 1:
            raise LoweringError("a bias is beyond int32")
        smallest, largest = SCALE_LIMITS
        if not ((self.scale >= smallest) & (self.scale <= largest)).all():
            raise LoweringError(f"a scale is not within {smallest:g} to {largest:g}")
        if not INT8[0] <= self.low <= self.high <= INT8[1]:
            raise LoweringError(f"bounds {self.low} to {self.high} are not within int8")
        if not INT8[0] <= self.zero_point <= INT8[1]:
            raise LoweringError(f"zero point {self.zero_point} is not within int8")


def requantise(sums: Integers, how: Requantisation) -> npt.NDArray[np.int8]:
    """Outputs of sums `(..., channels)`."""
    total = (sums + how.bias).astype(np.int32)  # wraps, as in hardware
    scaled = total.astype(np.float32) * how.scale
    whole = np.rint(np.clip(scaled, -1024.0, 1024.0)).astype(np.int64) + how.zero_point
    outputs: npt.NDArray[np.int8] = np.clip(whole, how.low, how.high).astype(np.int8)
    return outputs


def parameter_words(how: Requantisation) -> npt.NDArray[np.uint64]:
    """`(channels,)` words: bias [31:0], significand [55:32], shift [63:56].

    A scale is `significand * 2^e` with 24 bits, the leading one included; shift is `-8 - e`.
    """
    bits = how.scale.view(np.uint32)
    exponent = (bits >> 23).astype(np.int64) - 127 - 23
    significand = (bits & 0x7FFFFF | 0x800000).astype(np.uint64)
    shift = ((-8 - exponent) & 0xFF).astype(np.uint64)
    bias = (how.bias & 0xFFFFFFFF).astype(np.uint64)
    words: npt.NDArray[np.uint64] = bias | significand << np.uint64(32) | shift << np.uint64(56)
    return words
