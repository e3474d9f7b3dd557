"""Time a chain of executables of this process, one after another, pass after pass."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from hwnas.backends.backend import Executable
from hwnas.targets import Target

__all__ = ["clock_of", "time_chain"]


def clock_of(target: Target) -> Callable[[], int]:
    """Thread CPU time in ns where one thread does the work, wall time otherwise."""
    return time.thread_time_ns if target.runtime.threads == 1 else time.perf_counter_ns


def time_chain(
    chain: Sequence[Executable], clock: Callable[[], int], *, warmup: int, passes: int
) -> npt.NDArray[np.float64]:
    """One sample of each member, `(members, 2)`: seconds by the given clock and the wall's.

    All members run in order, so each finds the caches as its predecessor leaves them. A sample is
    the median over the timed passes.

    Args:
        chain: What to run.
        clock: The clock that counts, in ns.
        warmup: Untimed passes before.
        passes: Timed passes.
    """
    wall = time.perf_counter_ns
    runs = [member.run for member in chain]
    for _ in range(warmup):
        for run in runs:
            run()
    stamps = np.empty((passes, len(runs), 4), dtype=np.int64)
    for one_pass in stamps:
        for stamp, run in zip(one_pass, runs, strict=True):
            begin_wall = wall()
            begin = clock()
            run()
            stamp[:] = (begin, clock(), begin_wall, wall())
    seconds = 1e-9 * (stamps[:, :, 1::2] - stamps[:, :, 0::2])
    median: npt.NDArray[np.float64] = np.median(seconds, axis=0)
    return median
