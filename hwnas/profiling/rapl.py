"""Energy counters of the processor package (RAPL), read from Linux's powercap folder.

The counter covers the whole package, other processes included: idle power is measured first and
taken off, and a busy machine gives values that are too high.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import MeasurementError

__all__ = ["RaplCounter", "find_rapl"]

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class RaplCounter:
    """Package counters of one machine.

    Args:
        zones: Folders `intel-rapl:<package>`.
    """

    zones: tuple[Path, ...]

    def read_j(self) -> tuple[float, ...]:
        """Energy counted so far by each package, in J.

        Raises:
            MeasurementError: A counter cannot be read.
        """
        return tuple(_read_j(zone, "energy_uj") for zone in self.zones)

    def used_j(self, before: tuple[float, ...]) -> float:
        """Energy since an earlier reading, in J; one wrap-around per package is undone."""
        used = 0.0
        for zone, start, now in zip(self.zones, before, self.read_j(), strict=True):
            used += now - start + (_read_j(zone, "max_energy_range_uj") if now < start else 0.0)
        return used

    def idle_power_w(self, window_s: float = 1.0) -> float:
        """Power of the package while this process sleeps, in W."""
        before, begin = self.read_j(), time.perf_counter()
        time.sleep(window_s)
        return self.used_j(before) / (time.perf_counter() - begin)

    def energy_of(
        self, run: Callable[[], None], idle_power_w: float, window_s: float = 0.3
    ) -> float:
        """Energy of one run above idle, in J, from runs repeated for at least `window_s`."""
        run()
        count, before, begin = 0, self.read_j(), time.perf_counter()
        while True:
            run()
            count += 1
            elapsed = time.perf_counter() - begin
            if elapsed >= window_s:
                return max(0.0, self.used_j(before) - idle_power_w * elapsed) / count


def find_rapl(root: Path = POWERCAP) -> RaplCounter | None:
    """The machine's package counters, or None if there are none or they cannot be read."""
    if not root.is_dir():
        return None
    zones = tuple(
        zone
        for zone in sorted(root.glob("intel-rapl:*"))
        if zone.name.count(":") == 1 and (zone / "energy_uj").is_file()
    )
    if not zones:
        return None
    counter = RaplCounter(zones)
    try:
        counter.read_j()
    except MeasurementError:
        return None
    return counter


def _read_j(zone: Path, name: str) -> float:
    try:
        return 1e-6 * int((zone / name).read_text())
    except (OSError, ValueError) as error:
        raise MeasurementError(f"cannot read RAPL counter {zone / name}: {error}") from error
