"""What is said between hwnas and the TVM process: one request struct for each operation.

A message is a msgpack object in a frame (`frames`). To one request come any number of `Working`,
then one `Done` or `Failed`.
"""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from hwnas.graph import Kernel

__all__ = [
    "Array",
    "BuildForDevice",
    "BuildNetworks",
    "Built",
    "BuiltForDevice",
    "BuiltNetworks",
    "CCall",
    "CNetwork",
    "CloseDevice",
    "CodeTarget",
    "DeviceRequest",
    "DeviceSample",
    "Done",
    "ExportLibrary",
    "ExportedLibrary",
    "Failed",
    "FindGpu",
    "FloatPrecision",
    "FoundGpu",
    "Greeting",
    "Lower",
    "Lowered",
    "Place",
    "Release",
    "Request",
    "Response",
    "Results",
    "Run",
    "RunLibrary",
    "RunOnDevice",
    "Time",
    "TimeChainOnDevice",
    "TimeKernels",
    "TimeOnDevice",
    "Timed",
    "TimedOnDevice",
    "Tune",
    "Tuned",
    "Working",
    "WriteC",
]


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


class Lower(msgspec.Struct, frozen=True, tag=True):
    """Fuse models into kernels: `Lowered`. The child keeps the kernels, not the weights.

    Args:
        models: ONNX, by any name.
        pieces: Whether they are pieces of networks, whose outer layout changes do not count.
        target: What for; only its precision matters.
    """

    models: dict[str, bytes]
    pieces: bool = False
    target: CodeTarget = CodeTarget()


class Lowered(msgspec.Struct, frozen=True):
    """Kernels of each model in the order in which it calls them."""

    calls: dict[str, tuple[str, ...]]
    kernels: dict[str, Kernel]


class Tune(msgspec.Struct, frozen=True, tag=True):
    """Tune kernels that were lowered before: `Tuned`.

    Args:
        keys: Which ones.
        target: What for.
        database: Folder of tuning records.
        limit_s: Wall time after which tuning stops.
        trials: Measured candidates after which it stops.
        seed: Of the search.
        tracker: Where boards are registered that time the candidates; empty times them here.
        key: Of these boards.
    """

    keys: tuple[str, ...]
    target: CodeTarget
    database: str
    limit_s: float | None = None
    trials: int | None = None
    seed: int = 0
    tracker: str = ""
    key: str = ""


class Tuned(msgspec.Struct, frozen=True):
    """What tuning did; `left` are keys without any record."""

    tuned: int
    reused: int
    trials: int
    seconds: float
    left: tuple[str, ...]


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


class Release(msgspec.Struct, frozen=True, tag=True):
    """Forget networks: an empty `Results`."""

    handles: tuple[int, ...]


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


class BuildForDevice(msgspec.Struct, frozen=True, tag=True):
    """Compile networks and kernels for boards and link them: `BuiltForDevice`.

    Args:
        networks: ONNX models by name.
        kernels: Keys of kernels that were lowered before, to be timed one by one.
        target: What for.
        tracker: Address of the tracker at which the boards are registered.
        key: Of their kind.
        database: Folder of tuning records; None builds naive code, for results only.
    """

    networks: dict[str, bytes]
    kernels: tuple[str, ...]
    target: CodeTarget
    tracker: str
    key: str
    database: str | None = None


class BuiltForDevice(msgspec.Struct, frozen=True):
    """What was compiled; it is sent to boards when first wanted there.

    Args:
        handle: Its number; 0 if nothing was built because kernels are untuned.
        calls: Keys of each network's kernels in the order of its calls.
        untuned: Keys of those without a tuning record.
    """

    handle: int
    calls: dict[str, tuple[str, ...]]
    untuned: tuple[str, ...]


class TimeOnDevice(msgspec.Struct, frozen=True, tag=True):
    """Time networks and kernels on all boards at once: `TimedOnDevice`."""

    handle: int
    networks: tuple[str, ...]
    kernels: tuple[str, ...]
    warmup: int
    passes: int


class TimeChainOnDevice(msgspec.Struct, frozen=True, tag=True):
    """Time networks, each given as handle and name, on one and the same board: `TimedOnDevice`."""

    members: tuple[tuple[int, str], ...]
    warmup: int
    passes: int


class DeviceSample(msgspec.Struct, frozen=True):
    """What one board measured in one go: medians over the passes, wall time in s."""

    device: str
    names: tuple[str, ...]
    seconds: tuple[float, ...]


class TimedOnDevice(msgspec.Struct, frozen=True):
    """All that was measured, and why some is missing; empty if nothing is."""

    samples: tuple[DeviceSample, ...]
    failure: str = ""


class RunOnDevice(msgspec.Struct, frozen=True, tag=True):
    """Run a network on a board on given inputs: `Results`."""

    handle: int
    network: str
    inputs: tuple[Array, ...]


class CloseDevice(msgspec.Struct, frozen=True, tag=True):
    """Forget what was compiled and end the sessions: an empty `Results`."""

    handle: int


DeviceRequest = BuildForDevice | TimeOnDevice | TimeChainOnDevice | RunOnDevice | CloseDevice
Request = (
    DeviceRequest
    | Lower
    | Tune
    | BuildNetworks
    | Run
    | Time
    | TimeKernels
    | FindGpu
    | Release
    | ExportLibrary
    | RunLibrary
    | WriteC
)


class Greeting(msgspec.Struct, frozen=True):
    """The child's first word, after it has tried what is known to crash."""

    tvm: str
    processor: str


class Working(msgspec.Struct, frozen=True, tag=True):
    """How far a request is."""

    text: str
    share: float


class Done(msgspec.Struct, frozen=True, tag=True):
    """The result, of the type that the request names."""

    result: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag=True):
    """What went wrong: the name of an error class of hwnas, and its message."""

    error: str
    message: str


Response = Working | Done | Failed
