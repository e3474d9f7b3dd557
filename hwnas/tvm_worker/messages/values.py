"""What several messages hold: what code is for, and arrays."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

__all__ = ["Array", "CodeTarget", "FloatPrecision"]

FloatPrecision = Literal["float32", "float16", "bfloat16"]


class CodeTarget(msgspec.Struct, frozen=True):
    """What code is made for.

    Args:
        cpu: LLVM's name of the processor; `host` is this machine's.
        triple: LLVM's triple; empty is this machine's.
        features: LLVM attributes, such as `+neon`.
        cores: Threads that a kernel may use.
        cuda: Compute capability of a GPU that runs the kernels, such as `sm_90`; the processor
            then only launches them. Empty where there is none.
        precision: Of weights and of what is between operators.
    """

    cpu: str = "host"
    triple: str = ""
    features: tuple[str, ...] = ()
    cores: int = 1
    cuda: str = ""
    precision: FloatPrecision = "float32"


class Array(msgspec.Struct, frozen=True):
    """A dense array, in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: npt.NDArray[np.generic]) -> "Array":
        """From NumPy."""
        return cls(array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())

    def numpy(self) -> npt.NDArray[np.generic]:
        """To NumPy, read-only."""
        found: npt.NDArray[np.generic] = np.frombuffer(self.data, self.dtype).reshape(self.shape)
        return found
