"""Time on a GPU by its own clock: work recorded into a CUDA graph, events between the parts.

A network of small kernels keeps a GPU waiting for the CPU that launches them. A CUDA graph is
launched as a whole, so its kernels follow each other as fast as the device can; what the launch
itself takes is measured apart. Events inside the graph (event record nodes) cut its time into that
of its parts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["CudaClock", "DeviceClock", "Recording"]

Work = Callable[[], object]
Floats = npt.NDArray[np.float64]


class Recording(Protocol):
    """Recorded work."""

    def replay(self) -> Floats:
        """Run it and wait; seconds of each part in each timed pass, `(passes, parts)`."""


class DeviceClock(Protocol):
    """A device that records work and times its parts.

    Attributes:
        device: What torch calls it.
        l2_bytes: Size of the second-level cache.
    """

    device: str
    l2_bytes: int

    def record(self, parts: Sequence[Work], *, warmup: int, passes: int) -> Recording:
        """Record the parts, run in order: untimed passes, then timed ones.

        Work must not wait for the device. It runs once before, so that all that has to be made or
        chosen for it is there.
        """

    def repeated(self, work: Work, copies: int) -> Callable[[int], None]:
        """A function that runs `copies` of the work so many times, and waits for the last."""

    def wait(self) -> None:
        """Wait until all work is done."""


class CudaClock:
    """The current CUDA device of torch."""

    device = "cuda"

    def __init__(self) -> None:
        self.l2_bytes = int(torch.cuda.get_device_properties().L2_cache_size)
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        # Recordings never run at the same time and nobody reads a result later, so all may use
        # the same memory.
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, parts: Sequence[Work], *, warmup: int, passes: int) -> Recording:
        """A graph of all passes with an event after each part of the timed ones."""
        marks = [[_event() for _ in range(len(parts) + 1)] for _ in range(passes)]
        with self._recorded(parts) as graph:
            for _ in range(warmup):
                for part in parts:
                    part()
            for row in marks:
                row[0].record()
                for part, mark in zip(parts, row[1:], strict=True):
                    part()
                    mark.record()
        return _CudaRecording(graph, marks)

    def repeated(self, work: Work, copies: int) -> Callable[[int], None]:
        """Replays are queued; only the last is waited for."""
        with self._recorded([work]) as graph:
            for _ in range(copies):
                work()

        def run(times: int) -> None:
            for _ in range(times):
                graph.replay()
            self.wait()

        return run

    def wait(self) -> None:
        """Wait until the device is done."""
        torch.cuda.synchronize()

    @contextmanager
    def _recorded(self, parts: Sequence[Work]) -> Iterator[torch.cuda.CUDAGraph]:
        """A graph of what is started inside; the parts run once before.

        `torch.cuda.graph` would give all free memory back to the driver each time, which takes
        longer than recording.
        """
        graph = torch.cuda.CUDAGraph()
        self.wait()  # what the parts read was made on another stream
        with torch.cuda.stream(self._stream):
            for part in parts:
                part()
            self.wait()
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                yield graph
            finally:
                graph.capture_end()


class _CudaRecording:
    def __init__(
        self, graph: torch.cuda.CUDAGraph, marks: Sequence[Sequence[torch.cuda.Event]]
    ) -> None:
        self._graph = graph
        self._marks = marks

    def replay(self) -> Floats:
        self._graph.replay()
        torch.cuda.synchronize()
        return 1e-3 * np.array(  # torch gives milliseconds
            [[begin.elapsed_time(end) for begin, end in pairwise(row)] for row in self._marks]
        )


def _event() -> torch.cuda.Event:
    # External: a node of the graph that takes the time whenever the graph runs.
    return torch.cuda.Event(  # type: ignore[no-untyped-call]
        enable_timing=True, external=True
    )
