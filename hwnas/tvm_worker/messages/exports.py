"""Networks as files: shared libraries and C."""

from typing import Literal

import msgspec

from hwnas.tvm_worker.messages.values import Array, CodeTarget

__all__ = [
    "CCall",
    "CNetwork",
    "ExportLibrary",
    "ExportedLibrary",
    "Place",
    "RunLibrary",
    "WriteC",
]


class ExportLibrary(msgspec.Struct, frozen=True, tag=True):
    """Compile a model and write it as a shared library: `ExportedLibrary`.

    Args:
        model: ONNX.
        target: What for.
        path: The file to write.
        database: Folder of tuning records; None gives naive code.
        twin: Build the code of the target's schedules for this machine, to check its results.
    """

    model: bytes
    target: CodeTarget
    path: str
    database: str | None = None
    twin: bool = False


class ExportedLibrary(msgspec.Struct, frozen=True):
    """What was written.

    Args:
        cpu: LLVM's name of the processor.
        triple: LLVM's triple.
        kernels: How many different kernels it calls.
        untuned: Signatures of those without a tuning record; a GPU's need none.
        device_code: What of a GPU's kernels it holds: machine code where CUDA's runtime is
            installed, elsewhere their source, which is compiled when the library is loaded.
    """

    cpu: str
    triple: str
    kernels: int
    untuned: tuple[str, ...]
    device_code: Literal["", "machine code", "source"] = ""


class RunLibrary(msgspec.Struct, frozen=True, tag=True):
    """Load a library from its file and run it on each image: `Results`, one array.

    Args:
        path: The file.
        images: `(n, ...)`.
        batch: How many the library takes at a time.
        gpu: Whether a GPU runs it.
    """

    path: str
    images: Array
    batch: int = 1
    gpu: bool = False


class WriteC(msgspec.Struct, frozen=True, tag=True):
    """Write the kernels of a model as C and plan its memory: `CNetwork`."""

    model: bytes


class Place(msgspec.Struct, frozen=True):
    """Where an argument of a kernel lies.

    Args:
        kind: Whose float it points to.
        offset: Number of the weight, or floats from the begin of the arena.
    """

    kind: Literal["input", "output", "weight", "arena"]
    offset: int = 0


class CCall(msgspec.Struct, frozen=True):
    """A call of a C function that takes pointers to floats."""

    function: str
    arguments: tuple[Place, ...]


class CNetwork(msgspec.Struct, frozen=True):
    """A network as C functions and the order of their calls.

    Args:
        kernels: C source of static functions.
        calls: In order.
        weights: float32 arrays.
        arena_floats: Size of the memory that kernels share.
        input_shape: Of the only input.
        output_shape: Of the only output.
    """

    kernels: str
    calls: tuple[CCall, ...]
    weights: tuple[Array, ...]
    arena_floats: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
