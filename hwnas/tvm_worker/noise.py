"""Made-up arguments of kernels. Runs where TVM runs."""

import numpy as np
import numpy.typing as npt
import tvm

__all__ = ["noise_tensor"]

_NOISE = 1 << 16  # different numbers among a kernel's arguments
_SEED = 0


def noise_tensor(
    shape: tuple[int, ...], dtype: str, device: tvm.runtime.Device
) -> tvm.runtime.Tensor:
    """Standard normal numbers, which repeat; zeros of other types, which any index may be."""
    values: npt.NDArray[np.generic] = np.zeros(shape, dtype)
    if not np.issubdtype(values.dtype, np.integer) and values.dtype != bool:
        noise = np.random.default_rng(_SEED).standard_normal(_NOISE)
        values = np.resize(noise.astype(dtype), shape)
    return tvm.runtime.tensor(values, device)
