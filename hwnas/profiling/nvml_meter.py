"""Energy of executables by the counter of a GPU board.

The counter moves about every 100 ms, by what the board's sensor has seen since; on some boards the
sensor looks for a quarter of the time only (Yang et al., Part-time Power Measurements, SC 2024).
Both average out over steady work, so one executable is run again and again without a gap, and
energy is what the counter rose by from one move to a later one, divided by the runs between them.
Every move in between is a sample, whose scatter says how sure the mean is.
"""

import time
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from hwnas.backends import Executable
from hwnas.errors import MeasurementError
from hwnas.nvidia import NvidiaGpu
from hwnas.profiling.estimate import Estimate

__all__ = ["NvmlMeter"]

_WINDOW_S = 1.0  # ten moves of the counter
_LONGEST_S = 6.0
_INTERVAL = 0.03  # half width relative to the value
_SETTLE_MOVES = 2  # moves of the counter until it shows the new power alone
_FEWEST = 6  # moves behind a mean
_IDLE_S = 2.0
_POLL_S = 0.005
_QUARTILES = 1.349  # between the quartiles of a normal distribution, in standard deviations

Floats = npt.NDArray[np.float64]


class NvmlMeter:
    """Meter of one board; measures its idle power when it is made.

    Args:
        gpu: The board, on which nothing else should run.
        clock: Gives the time in s.
        sleep: Waits for so many s.

    Raises:
        MeasurementError: The board has no energy counter.
    """

    def __init__(
        self,
        gpu: NvidiaGpu,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gpu = gpu
        self._clock = clock
        self._sleep = sleep
        self.idle_power_w = self._idle_power_w()

    def energy_of(self, executable: Executable) -> Estimate:
        """Mean over runs repeated for at least 1 s, until it is known to 3 %, or for 6 s.

        Raises:
            MeasurementError: The executable cannot repeat by itself, or the counter stands still.
        """
        marks = self._marks(_runs_of(executable))
        value, reach, scatter = self._above_idle(marks)
        spread = _QUARTILES * scatter
        return Estimate(value, value - reach, value + reach, spread, len(marks) - 1, 0)

    def _marks(self, run: Callable[[], int]) -> Floats:
        """Energy, runs and time at each move of the counter, `(n, 3)`."""
        begin = self._clock()
        last = self._gpu.energy_j()
        moves, runs = 0, 0
        marks: list[tuple[float, int, float]] = []
        while True:
            runs += run()
            now, energy = self._clock(), self._gpu.energy_j()
            if energy != last:
                last = energy
                moves += 1
                if moves >= _SETTLE_MOVES:
                    marks.append((energy, runs, now))
            if len(marks) >= _FEWEST and marks[-1][2] - marks[0][2] >= _WINDOW_S:
                found = np.array(marks, dtype=np.float64)
                value, reach, _ = self._above_idle(found)
                if (value > 0.0 and reach <= _INTERVAL * value) or now - begin > _LONGEST_S:
                    return found
            if now - begin > 2.0 * _LONGEST_S:
                self._refuse(now - begin, moves)

    def _above_idle(self, marks: Floats) -> tuple[float, float, float]:
        """Energy of a run, half width of its 95 % interval, and its scatter between moves."""
        rises = np.diff(marks, axis=0)
        energy, runs, seconds = rises.sum(axis=0)
        value = (energy - self.idle_power_w * seconds) / runs
        scatter = float(np.std(rises[:, 0] / rises[:, 1], ddof=1))
        reach = float(student.ppf(0.975, len(rises) - 1)) * scatter / np.sqrt(len(rises))
        return max(0.0, float(value)), float(reach), scatter

    def _idle_power_w(self) -> float:
        """What the counter rises by while this process waits, over the time from move to move."""
        marks: list[tuple[float, float]] = []
        last, begin = self._gpu.energy_j(), self._clock()
        while self._clock() - begin < _IDLE_S or len(marks) < _FEWEST:
            self._sleep(_POLL_S)
            now, energy = self._clock(), self._gpu.energy_j()
            if energy != last:
                marks.append((now, energy))
                last = energy
            if now - begin > 2.0 * _LONGEST_S:
                self._refuse(now - begin, len(marks))
        (begin, least), (end, most) = marks[0], marks[-1]
        return (most - least) / (end - begin)

    def _refuse(self, seconds: float, moves: int) -> NoReturn:
        raise MeasurementError(
            f"the energy counter of {self._gpu.name} moved {moves} times in {seconds:.0f} s"
        )


def _runs_of(executable: Executable) -> Callable[[], int]:
    """Runs without a gap, and says how often."""
    repeat: Callable[[], int] | None = getattr(executable, "repeat", None)
    if repeat is None:
        raise MeasurementError(
            "energy is not measured with this runtime: it waits between one run and the next"
        )
    return repeat
