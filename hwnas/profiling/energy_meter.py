"""Measured energy of executables, by whatever counter a target has."""

from typing import Protocol

from hwnas.backends import Executable
from hwnas.errors import MeasurementError
from hwnas.nvidia import search_gpu
from hwnas.profiling.estimate import Estimate
from hwnas.profiling.nvml_meter import NvmlMeter
from hwnas.profiling.rapl import find_rapl
from hwnas.profiling.rapl_meter import RaplMeter
from hwnas.targets import Target

__all__ = ["EnergyMeter", "NoMeterError", "counts_energy", "find_meter"]


class EnergyMeter(Protocol):
    """Measures energy above idle.

    Attributes:
        idle_power_w: Power while nothing runs, which is taken off.
    """

    idle_power_w: float

    def energy_of(self, executable: Executable) -> Estimate:
        """Energy of one run in J, above idle.

        Raises:
            MeasurementError: The counter cannot be read any more.
        """


class NoMeterError(MeasurementError):
    """Nothing counts energy on a target; the message says why."""


def counts_energy(target: Target) -> bool:
    """Whether the target's energy is measured or not known, and its counter can be read here."""
    if target.energy.source != "nvml":
        return False
    gpu = search_gpu().gpu
    try:
        return gpu is not None and gpu.energy_j() >= 0.0
    except MeasurementError:
        return False


def find_meter(target: Target) -> EnergyMeter:
    """The meter of a target that is here; measures the idle power first.

    Raises:
        NoMeterError: There is none.
    """
    source = target.energy.source
    if source == "rapl":
        counter = find_rapl()
        if counter is None:
            raise NoMeterError("RAPL counters cannot be read here")
        return RaplMeter(counter)
    if source == "nvml":
        found = search_gpu()
        if found.gpu is None:
            raise NoMeterError(found.reason)
        try:
            return NvmlMeter(found.gpu)
        except MeasurementError as error:
            raise NoMeterError(str(error)) from error
    raise NoMeterError(f"energy of target {target.name!r} is modelled")
