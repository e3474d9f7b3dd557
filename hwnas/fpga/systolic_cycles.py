"""Stall-free cycles of the three classical dataflows on an R x C systolic array.

With M output pixels, T terms a sum and K output channels (Samajdar et al., SCALE-Sim, 2018;
ISPASS 2020, section III-B), an array that keeps

    outputs in place:  ceil(M / R) ceil(K / C) (T + R + C - 2)
    weights in place:  ceil(T / R) ceil(K / C) (M + 2 R + C - 2)
    inputs in place:   ceil(T / R) ceil(M / C) (K + 2 R + C - 2)

Fill and drain are part of every tile here; our own array overlaps them (`hwnas.fpga.cycles`).
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Dataflow", "systolic_cycles"]

Dataflow = Literal["os", "ws", "is"]

_Counts = npt.NDArray[np.int64] | int


def systolic_cycles(
    dataflow: Dataflow,
    pixels: _Counts,
    depth: _Counts,
    channels: _Counts,
    rows: _Counts,
    columns: _Counts,
) -> npt.NDArray[np.int64]:
    """Cycles; arguments broadcast.

    Args:
        dataflow: What stays in place: outputs `os`, weights `ws` or inputs `is`.
        pixels: M, output pixels.
        depth: T, terms of each sum.
        channels: K, output channels.
        rows: R of the array.
        columns: C of the array.

    Raises:
        ValueError: There is no such dataflow.
    """
    m, t, k, r, c = (
        np.asarray(value, np.int64) for value in (pixels, depth, channels, rows, columns)
    )
    if dataflow == "os":
        return np.asarray(-(-m // r) * -(-k // c) * (t + r + c - 2))
    if dataflow == "ws":
        return np.asarray(-(-t // r) * -(-k // c) * (m + 2 * r + c - 2))
    if dataflow == "is":
        return np.asarray(-(-t // r) * -(-m // c) * (k + 2 * r + c - 2))
    raise ValueError(f"no dataflow {dataflow!r}; there are os, ws and is")
