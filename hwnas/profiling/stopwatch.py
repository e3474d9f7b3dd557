"""Time a chain of executables, one after another, pass after pass."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hwnas.backends import Executable, MeasuringBackend
from hwnas.profiling.protocol import Protocol
from hwnas.targets import Target

__all__ = ["Stopwatch"]


class Stopwatch:
    """Takes samples by the clock that counts for the target, and by the wall clock.

    Args:
        backend: Whose clock to use.
        target: The device.
        protocol: Number of passes.
    """

    def __init__(self, backend: MeasuringBackend, target: Target, protocol: Protocol) -> None:
        self._clock: Callable[[], int] = lambda: backend.clock_ns(target)
        self._protocol = protocol

    def sample(self, chain: Sequence[Executable]) -> npt.NDArray[np.float64]:
        """One sample of each member, `(members, 2)`: seconds by the target's clock and the wall's.

        All members run in order, so each finds the caches as its predecessor leaves them. A sample
        is the median over the timed passes.
        """
        clock, wall = self._clock, time.perf_counter_ns
        runs = [member.run for member in chain]
        for _ in range(self._protocol.warmup):
            for run in runs:
                run()
        stamps = np.empty((self._protocol.passes, len(runs), 4), dtype=np.int64)
        for one_pass in stamps:
            for stamp, run in zip(one_pass, runs, strict=True):
                begin_wall = wall()
                begin = clock()
                run()
                stamp[:] = (begin, clock(), begin_wall, wall())
        seconds = 1e-9 * (stamps[:, :, 1::2] - stamps[:, :, 0::2])
        median: npt.NDArray[np.float64] = np.median(seconds, axis=0)
        return median
