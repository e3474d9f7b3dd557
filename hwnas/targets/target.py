"""A device, and how networks run on it."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from hwnas.errors import TargetError
from hwnas.targets import machine
from hwnas.targets.device_file import (
    AcceleratorChip,
    EnergyModel,
    FpgaArray,
    Gpu,
    GpuRuntime,
    PeakRates,
    Precision,
    Processor,
    Remote,
    Runtime,
)

__all__ = ["MAX_BATCH", "MAX_THREADS", "Settings", "Target"]

MAX_THREADS = 1024
MAX_BATCH = 256
_DECISIVE_OF_GPUS = ("architecture", "batch", "product", "runtime")
_BYTES = {"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2, "int8": 1}  # of one number


@dataclass(frozen=True)
class Settings:
    """How networks run, where it is not as the device's file says; None changes nothing.

    Args:
        threads: Threads of one network.
        batch: Inputs at once, on GPUs.
        precision: Of weights and activations, on GPUs.
        runtime: What compiles and executes, on GPUs.
    """

    threads: int | None = None
    batch: int | None = None
    precision: Precision | None = None
    runtime: GpuRuntime | None = None

    def arguments(self) -> dict[str, Any]:
        """As `run.json` keeps them."""
        return asdict(self)


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device.

    Args:
        schema: Version of the file format.
        name: Same as the folder's.
        description: One line.
        backend: Kind of hardware: name of the backend that compiles and measures.
        local: Whether it is the machine that hwnas runs on.
        runtime: How networks run.
        energy: Energy source and constants.
        peak: Rates, for modelled devices.
        processor: What compilers generate code for.
        remote: How boards are found, for devices elsewhere.
        accelerator: Cores of a chip that is modelled.
        fpga: An FPGA and the array on it.
        gpu: A graphics processor, and how networks run on it.
    """

    schema: int
    name: str
    description: str
    backend: str
    energy: EnergyModel
    local: bool = False
    runtime: Runtime = Runtime()
    peak: PeakRates | None = None
    processor: Processor | None = None
    remote: Remote | None = None
    accelerator: AcceleratorChip | None = None
    fpga: FpgaArray | None = None
    gpu: Gpu | None = None

    def with_settings(self, settings: Settings) -> "Target":
        """The same device, with networks run in another way.

        Raises:
            TargetError: A number makes no sense, or the device is none that the setting is for.
        """
        if settings == Settings():
            return self
        threads = self.runtime.threads if settings.threads is None else settings.threads
        if not 1 <= threads <= MAX_THREADS:
            raise TargetError(f"{threads} threads asked for; 1 to {MAX_THREADS} make sense")
        runtime = msgspec.structs.replace(self.runtime, threads=threads)
        if (settings.batch, settings.precision, settings.runtime) == (None, None, None):
            return msgspec.structs.replace(self, runtime=runtime)
        if self.gpu is None:
            raise TargetError(
                f"target {self.name!r} is no GPU: batch, precision and runtime can be set for "
                "targets with [gpu] alone"
            )
        batch = self.gpu.batch if settings.batch is None else settings.batch
        if not 1 <= batch <= MAX_BATCH:
            raise TargetError(f"a batch of {batch} asked for; 1 to {MAX_BATCH} make sense")
        precision = settings.precision or runtime.precision
        if precision == "int8":
            raise TargetError("int8 is not measured on GPUs: float32, tf32, float16 or bfloat16")
        gpu = msgspec.structs.replace(
            self.gpu, batch=batch, runtime=settings.runtime or self.gpu.runtime
        )
        runtime = msgspec.structs.replace(runtime, precision=precision)
        return msgspec.structs.replace(self, runtime=runtime, gpu=gpu)

    def with_threads(self, threads: int | None) -> "Target":
        """The same device run with another number of threads; as `with_settings`."""
        return self.with_settings(Settings(threads))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all that decides a number on this target.

        Prose does not, nor does how a board is found.
        """
        energy = msgspec.structs.replace(self.energy, reference="")
        numbers = msgspec.structs.replace(self, description="", energy=energy)
        decisive = msgspec.to_builtins(numbers)
        del decisive["remote"]
        gpu = decisive.pop("gpu")
        if gpu is not None:  # its rates are for orientation
            decisive["gpu"] = {name: gpu[name] for name in _DECISIVE_OF_GPUS}
        for name in ("processor", "accelerator", "fpga"):
            part = decisive.pop(name)
            if part is not None:
                decisive[name] = {**part, "reference": ""}
        described = msgspec.json.encode(decisive, order="sorted")
        return hashlib.sha256(described + self.host.encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """Processor or GPU of a local target, or an empty string."""
        if not self.local:
            return ""
        return machine.processor() if self.gpu is None else machine.graphics_processor()

    @property
    def activation_scale(self) -> float:
        """Bytes of activations relative to one input in float32."""
        if self.gpu is None:
            return 1.0
        return self.gpu.batch * _BYTES[self.runtime.precision] / _BYTES["float32"]

    @property
    def how(self) -> str:
        """How networks run there, for people: threads, or batch, precision and runtime."""
        if self.gpu is None:
            return f"{self.runtime.threads} thread(s)"
        return f"batch {self.gpu.batch}, {self.runtime.precision}, {self.gpu.runtime}"
