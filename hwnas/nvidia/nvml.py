"""A GPU as NVML sees it: name, clocks, reasons for low clocks, power, and the energy counter.

Nothing is ever set. NVML and CUDA number devices differently; the device taken here is the first
that `CUDA_VISIBLE_DEVICES` names, by number in PCI order or by UUID, or the first of all. Its
functions are those of the package `nvidia-ml-py`; tests give another object that has them.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

from hwnas.errors import MeasurementError

__all__ = ["GpuState", "NvidiaGpu", "SearchResult", "find_gpu", "search_gpu"]

PACKAGE = "pip install 'hwnas[gpu]'"
_REASONS = {  # bits of nvmlDeviceGetCurrentClocksEventReasons, NVML API reference, section 5.11
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "power brake",
    0x100: "display clocks",
}  # bit 0 only says that the device idles


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment; None where the device does not tell.

    Args:
        clock_hz: Of the multiprocessors.
        memory_clock_hz: Of the memory.
        temperature_c: Of the chip.
        power_w: Of the board.
        throttled_by: What keeps the clocks below those that the device would choose.
    """

    clock_hz: float | None
    memory_clock_hz: float | None
    temperature_c: float | None
    power_w: float | None
    throttled_by: tuple[str, ...]


class NvidiaGpu:
    """One device.

    Args:
        library: NVML's functions by their own names, as the package `nvidia-ml-py` has them.
        handle: What NVML calls the device.

    Raises:
        MeasurementError: The device does not tell its name.
    """

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle
        self.name = _text(self._ask("nvmlDeviceGetName"))
        self.uuid = _text(self._ask("nvmlDeviceGetUUID"))
        major, minor = self._ask("nvmlDeviceGetCudaComputeCapability")
        self.architecture = f"sm_{major}{minor}"

    @property
    def driver(self) -> str:
        """Version of the driver."""
        try:
            return _text(self._library.nvmlSystemGetDriverVersion())
        except self._library.NVMLError as error:
            raise MeasurementError(f"NVML does not tell the driver's version: {error}") from error

    def energy_j(self) -> float:
        """Energy that the board has taken since the driver was loaded, in J.

        The counter has a resolution of 1 mJ and moves about every 100 ms, so differences mean
        something over a second and more.

        Raises:
            MeasurementError: The device has no such counter, or a part of it (MIG) is in use.
        """
        if self._is_partitioned():
            raise MeasurementError(
                f"{self.name} is partitioned (MIG), and the energy counter is that of the whole"
            )
        return 1e-3 * float(self._ask("nvmlDeviceGetTotalEnergyConsumption"))

    def state(self) -> GpuState:
        """Clocks, temperature, power and reasons for low clocks now."""
        library = self._library
        reasons = self._asked("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:  # drivers before 535 know it by this name
            reasons = self._asked("nvmlDeviceGetCurrentClocksThrottleReasons")
        return GpuState(
            _scaled(self._asked("nvmlDeviceGetClockInfo", library.NVML_CLOCK_SM), 1e6),
            _scaled(self._asked("nvmlDeviceGetClockInfo", library.NVML_CLOCK_MEM), 1e6),
            _scaled(self._asked("nvmlDeviceGetTemperature", library.NVML_TEMPERATURE_GPU), 1.0),
            _scaled(self._asked("nvmlDeviceGetPowerUsage"), 1e-3),
            tuple(text for bit, text in _REASONS.items() if int(reasons or 0) & bit),
        )

    def _is_partitioned(self) -> bool:
        mode = self._asked("nvmlDeviceGetMigMode")
        return mode is not None and bool(mode[0])

    def _ask(self, function: str, *arguments: Any) -> Any:
        try:
            return getattr(self._library, function)(self._handle, *arguments)
        except (AttributeError, self._library.NVMLError) as error:
            what = function.removeprefix("nvmlDeviceGet")
            name = getattr(self, "name", "the GPU")
            raise MeasurementError(f"{name} does not tell its {what}: {error}") from error

    def _asked(self, function: str, *arguments: Any) -> Any:
        """The same, or None where the device does not tell."""
        try:
            return self._ask(function, *arguments)
        except MeasurementError:
            return None


@dataclass(frozen=True)
class SearchResult:
    """Whether there is a GPU.

    Args:
        gpu: The device that CUDA would take.
        reason: What was found.
        remedy: What to do if there is none; empty if nothing helps.
    """

    gpu: NvidiaGpu | None
    reason: str
    remedy: str = ""


def search_gpu(library: Any = None) -> SearchResult:
    """Look for the GPU that this process computes on; never raises.

    Args:
        library: NVML's functions; the installed package by default.
    """
    nvml = library or _package()
    if nvml is None:
        return SearchResult(None, "NVML's package is not installed", PACKAGE)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return SearchResult(None, f"no NVIDIA driver answers: {error}")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in ("", "-1"):
        return SearchResult(None, "CUDA_VISIBLE_DEVICES hides all GPUs", "unset it")
    first = (visible or "0").split(",")[0].strip()
    try:
        if first.isdecimal():
            handle = nvml.nvmlDeviceGetHandleByIndex(int(first))
        else:
            handle = nvml.nvmlDeviceGetHandleByUUID(first)
        gpu = NvidiaGpu(nvml, handle)
        return SearchResult(gpu, f"{gpu.name}, driver {gpu.driver}")
    except (nvml.NVMLError, MeasurementError) as error:
        return SearchResult(None, f"GPU {first!r} cannot be used: {error}")


@lru_cache(maxsize=1)
def find_gpu() -> NvidiaGpu | None:
    """The GPU that this process computes on, or None; looked for once."""
    return search_gpu().gpu


def _package() -> ModuleType | None:
    try:
        import pynvml
    except ImportError:
        return None
    module: ModuleType = pynvml
    return module


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _scaled(value: Any, unit: float) -> float | None:
    return None if value is None else unit * float(value)
