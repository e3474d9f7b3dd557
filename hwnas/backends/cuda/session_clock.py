"""Time of sessions by the GPU's own clock, through the events of a torch that knows CUDA."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SessionClock", "find_session_clock"]

_CLOCK_HZ = 3e9  # above the boost clock of every GPU in targets/; a slower one holds longer
_HOLD = 2.0  # times what queueing took before, so that the device never waits for the host


class SessionClock:
    """A stream that sessions run on, and events on it.

    Args:
        cuda: Torch's module of that name.
    """

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._stream = cuda.Stream()

    @property
    def stream_pointer(self) -> int:
        """Address of the stream, as sessions take it."""
        return int(self._stream.cuda_stream)

    def queueing_s(self, launches: Sequence[Callable[[], None]]) -> float:
        """What it takes the host to queue the launches, in s."""
        begin = time.perf_counter()
        for launch in launches:
            launch()
        taken = time.perf_counter() - begin
        self._stream.synchronize()
        return taken

    def seconds(
        self, launches: Sequence[Callable[[], None]], queueing_s: float
    ) -> npt.NDArray[np.float64]:
        """Seconds of each launch, `(launches,)`, from the end of the one before to its own end.

        The stream is held while the host queues, so what runs is the device alone. Where ONNX
        Runtime waits for each recorded run (before its pull request 28686), the time that the host
        takes between two counts too.

        Args:
            launches: What queues one run each, and does not wait for it.
            queueing_s: What `queueing_s` gave for them.
        """
        marks = [self._cuda.Event(enable_timing=True) for _ in range(len(launches) + 1)]
        with self._cuda.stream(self._stream):
            self._cuda._sleep(int(_HOLD * queueing_s * _CLOCK_HZ))  # cycles
            marks[0].record()
            for launch, mark in zip(launches, marks[1:], strict=True):
                launch()
                mark.record()
        self._stream.synchronize()
        milliseconds = [begin.elapsed_time(end) for begin, end in pairwise(marks)]
        return 1e-3 * np.array(milliseconds, dtype=np.float64)


@lru_cache(maxsize=1)
def find_session_clock() -> SessionClock | None:
    """The clock of this process, or None without a torch that sees a GPU."""
    try:
        import torch
    except ImportError:
        return None
    return SessionClock(torch.cuda) if torch.cuda.is_available() else None
