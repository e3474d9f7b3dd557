"""The processor in place of a GPU, for tests on machines without one."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["HostClock"]

Work = Callable[[], object]


class HostClock:
    """A `hwnas.backends.cuda.device_clock.DeviceClock` whose work runs at once, on the host.

    What is recorded runs anew at every replay, on the same buffers and programs.
    """

    device = "cpu"
    l2_bytes = 1 << 20

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, parts: Sequence[Work], *, warmup: int, passes: int) -> "HostRecording":
        """Run the parts once, keep them, and count that they were recorded."""
        self.recorded += 1
        for part in parts:
            part()
        return HostRecording(parts, warmup, passes)

    def repeated(self, work: Work, copies: int) -> Callable[[int], None]:
        """A loop."""

        def run(times: int) -> None:
            for _ in range(times * copies):
                work()

        return run

    def wait(self) -> None:
        """Nothing is ever left to be waited for."""


class HostRecording:
    """Parts that run when they are replayed.

    Args:
        parts: In order.
        warmup: Untimed passes.
        passes: Timed passes.
    """

    def __init__(self, parts: Sequence[Work], warmup: int, passes: int) -> None:
        self._parts = parts
        self._warmup = warmup
        self._passes = passes

    def replay(self) -> npt.NDArray[np.float64]:
        """Seconds by the wall clock, `(passes, parts)`."""
        rows = []
        for _ in range(self._warmup + self._passes):
            stamps = [time.perf_counter()]
            for part in self._parts:
                part()
                stamps.append(time.perf_counter())
            rows.append(np.diff(stamps))
        return np.array(rows[self._warmup :])
