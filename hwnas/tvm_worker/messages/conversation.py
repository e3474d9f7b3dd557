"""Requests, their answers, and what is said in between.

A message is a msgpack object in a frame (`frames`). To one request come any number of `Working`,
then one `Done` or `Failed`.
"""

import msgspec

from hwnas.tvm_worker.messages.devices import DeviceRequest
from hwnas.tvm_worker.messages.exports import ExportLibrary, RunLibrary, WriteC
from hwnas.tvm_worker.messages.kernels import Lower, Tune
from hwnas.tvm_worker.messages.networks import (
    BuildNetworks,
    FindGpu,
    Release,
    Repeat,
    Run,
    Time,
    TimeKernels,
)

__all__ = ["Done", "Failed", "Greeting", "Request", "Response", "Working"]

Request = (
    DeviceRequest
    | Lower
    | Tune
    | BuildNetworks
    | Run
    | Time
    | TimeKernels
    | Repeat
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
