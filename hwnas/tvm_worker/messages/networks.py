"""Networks in the TVM process: compiled, run, timed and forgotten."""

import msgspec

from hwnas.tvm_worker.messages.values import Array, CodeTarget

__all__ = [
    "BuildNetworks",
    "Built",
    "BuiltNetworks",
    "FindGpu",
    "FoundGpu",
    "Release",
    "Repeat",
    "Repeated",
    "Results",
    "Run",
    "Time",
    "TimeKernels",
    "Timed",
]


class BuildNetworks(msgspec.Struct, frozen=True, tag=True):
    """Compile models together: `BuiltNetworks`.

    Args:
        models: ONNX, by any name.
        target: What for.
        database: Folder of tuning records; None builds naive code, for results, never for times.
    """

    models: dict[str, bytes]
    target: CodeTarget
    database: str | None = None


class Built(msgspec.Struct, frozen=True):
    """A compiled network in the child.

    Args:
        handle: Its number.
        kernels: Keys of its kernels in the order of its calls.
    """

    handle: int
    kernels: tuple[str, ...]


class BuiltNetworks(msgspec.Struct, frozen=True):
    """Compiled networks.

    Args:
        networks: By the names of the models; none of them if kernels are untuned.
        untuned: Keys of kernels without a tuning record.
    """

    networks: dict[str, Built]
    untuned: tuple[str, ...] = ()


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run a network on given inputs: `Results`."""

    handle: int
    inputs: tuple[Array, ...]


class Results(msgspec.Struct, frozen=True):
    """Outputs of a network."""

    outputs: tuple[Array, ...]


class Time(msgspec.Struct, frozen=True, tag=True):
    """Time networks one after another: `Timed`, one row each."""

    handles: tuple[int, ...]
    warmup: int
    passes: int


class TimeKernels(msgspec.Struct, frozen=True, tag=True):
    """Time the kernels of a network: `Timed`, one row a call.

    On a processor they are timed inside the network, on a GPU each alone, again and again.
    """

    handle: int
    warmup: int
    passes: int


class Timed(msgspec.Struct, frozen=True):
    """Medians over the passes in s: `(thread CPU time, wall time)`, a GPU's own clock twice."""

    seconds: tuple[tuple[float, float], ...]


class Repeat(msgspec.Struct, frozen=True, tag=True):
    """Run a network, or one of its kernels, again and again without a gap: `Repeated`.

    Args:
        handle: Of the network.
        kernel: Key of the kernel; empty for the network as a whole.
        least_s: How long, at least.
    """

    handle: int
    kernel: str
    least_s: float


class Repeated(msgspec.Struct, frozen=True):
    """How often it ran."""

    runs: int


class Release(msgspec.Struct, frozen=True, tag=True):
    """Forget networks: an empty `Results`."""

    handles: tuple[int, ...]


class FindGpu(msgspec.Struct, frozen=True, tag=True):
    """Look for a GPU that TVM can use: `FoundGpu`."""


class FoundGpu(msgspec.Struct, frozen=True):
    """What TVM sees.

    Args:
        architecture: Its compute capability, such as `sm_90`; empty where there is no GPU.
        compiler: What makes machine code of CUDA, `nvrtc` or `nvcc`; empty where neither is.
    """

    architecture: str
    compiler: str
