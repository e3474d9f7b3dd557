"""A stand-in for the package `nvidia-ml-py`, for tests on machines without a GPU."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from typing import Any

__all__ = ["FakeNvml", "NvmlError"]


class NvmlError(Exception):
    """What the functions raise."""


class FakeNvml:
    """NVML's functions over made-up devices.

    Args:
        name: Of every device.
        devices: Their number; UUIDs are `GPU-0`, `GPU-1`, ...
        energy_mj: Readings of the counter in turn, or a function that gives one.
        power_mw: Of the board.
        reasons: Bits of the reasons for low clocks.
        mig: Whether the devices are partitioned.
        lacking: Functions that are not supported.
        driver: Whether there is one.
    """

    NVMLError = NvmlError
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_TEMPERATURE_GPU = 0

    def __init__(
        self,
        name: str | bytes = "NVIDIA H200",
        *,
        devices: int = 1,
        energy_mj: Sequence[int] | Callable[[], int] | None = None,
        power_mw: int = 123_400,
        reasons: int = 0,
        mig: int = 0,
        lacking: Collection[str] = (),
        driver: bool = True,
    ) -> None:
        self._name = name
        self._devices = devices
        readings: Iterator[int] = count(0, 1000) if energy_mj is None else iter(())
        if callable(energy_mj):
            self._energy_mj: Callable[[], int] = energy_mj
        else:
            readings = readings if energy_mj is None else iter(energy_mj)
            self._energy_mj = lambda: next(readings)
        self._power_mw = power_mw
        self._reasons = reasons
        self._mig = mig
        self._lacking = lacking
        self._driver = driver

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvmlDeviceGet") and name in self._lacking:
            return _not_supported
        return super().__getattribute__(name)

    def nvmlInit(self) -> None:
        if not self._driver:
            raise NvmlError("Driver Not Loaded")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index >= self._devices:
            raise NvmlError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        known = [f"GPU-{index}" for index in range(self._devices)]
        if uuid not in known:
            raise NvmlError("Not Found")
        return known.index(uuid)

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return self._name

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> list[int]:
        return [9, 0]

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        return [self._mig, self._mig]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return self._energy_mj()

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self._power_mw

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 41

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 3201}[kind]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return self._reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: int) -> int:
        return self._reasons


def _not_supported(*_arguments: object) -> Any:
    raise NvmlError("Not Supported")
