"""Energy of executables by the processor's own counters."""

from hwnas.backends import Executable
from hwnas.profiling.estimate import Estimate
from hwnas.profiling.rapl import RaplCounter

__all__ = ["RaplMeter"]

_WINDOW_S = 0.3


class RaplMeter:
    """Meter of the processor package.

    Args:
        counter: Its counters.
    """

    def __init__(self, counter: RaplCounter) -> None:
        self._counter = counter
        self.idle_power_w = counter.idle_power_w()

    def energy_of(self, executable: Executable) -> Estimate:
        """Mean over runs repeated for 0.3 s; one window, so without an interval."""
        value = self._counter.energy_of(executable.run, self.idle_power_w, _WINDOW_S)
        return Estimate(value, value, value, 0.0, 1, 0)
