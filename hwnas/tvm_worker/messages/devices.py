"""Networks and kernels on boards elsewhere."""

import msgspec

from hwnas.tvm_worker.messages.values import Array, CodeTarget

__all__ = [
    "BuildForDevice",
    "BuiltForDevice",
    "CloseDevice",
    "DeviceRequest",
    "DeviceSample",
    "RunOnDevice",
    "TimeChainOnDevice",
    "TimeOnDevice",
    "TimedOnDevice",
]


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
