"""Sessions on a GPU: recorded as CUDA graphs, queued or waited for, with inputs that change."""

import time
from collections.abc import Collection, Mapping
from functools import cached_property, lru_cache
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from hwnas.backends.backend import BlockExecutable
from hwnas.backends.onnxruntime_sessions import OrtExecutable

__all__ = ["ImagePool", "Recorded", "SessionExecutable", "image_pool"]

Recorded = Literal["never", "once", "by address"]
"""How runs are recorded as CUDA graphs, which keep the addresses that they read and write.

The CUDA provider keeps any number of them apart by a number (run option `gpu_graph_id`); TensorRT
keeps one.
"""

_TURN_S = 0.005  # between two waits: short against the 100 ms in which an energy counter moves


class ImagePool:
    """Standard normal noise from which inputs are taken one after another.

    Args:
        size_bytes: How much is given before the first of it comes again.
        kind: Type of a number.
    """

    def __init__(self, size_bytes: int, kind: npt.DTypeLike) -> None:
        count = max(1, size_bytes // np.dtype(kind).itemsize)
        rng = np.random.default_rng(0)
        self._noise = rng.standard_normal(count, dtype=np.float32).astype(kind)
        self._next = 0

    def take(self, shape: Collection[int]) -> np.ndarray:
        """The next input."""
        count = prod(shape)
        if count > len(self._noise):
            self._noise = np.resize(self._noise, count)
        if self._next + count > len(self._noise):
            self._next = 0
        begin, self._next = self._next, self._next + count
        return self._noise[begin : self._next].reshape(tuple(shape))


@lru_cache(maxsize=4)
def image_pool(size_bytes: int, kind: str) -> ImagePool:
    """One pool for all executables, which go through it together."""
    return ImagePool(size_bytes, kind)


class SessionExecutable(OrtExecutable):
    """A session on a GPU with inputs and outputs bound to fixed buffers there.

    Args:
        session: The session.
        values: Example values of its inputs and outputs by name; others are not looked at.
        place: Where the buffers lie, `cuda`, or `cpu` in tests.
        recorded: How runs are recorded.
        images: Where further inputs come from.
        data: Names of those inputs that are inputs of the network.
        pieces: What `OrtExecutable` wants to know of a piece of a network.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        values: Mapping[str, np.ndarray],
        *,
        place: str,
        recorded: Recorded,
        images: ImagePool,
        data: Collection[str],
        **pieces: Any,
    ) -> None:
        inputs = {info.name: values[info.name] for info in session.get_inputs()}
        super().__init__(session, inputs, values, place=place, **pieces)
        self._recorded = recorded
        self._images = images
        self._renewed = [name for name in self._inputs if name in data]
        self._numbers: dict[tuple[int, ...], int] = {}
        self._choose_recording()

    def run(self) -> None:
        """Run once, and return when the results are there."""
        self._session.run_with_iobinding(self._binding, self._waiting)
        self._binding.synchronize_outputs()

    def launch(self) -> None:
        """Queue one run, and return before it is over if ONNX Runtime allows."""
        self._session.run_with_iobinding(self._binding, self._queueing)

    def repeat(self) -> int:
        """Run again and again for about 5 ms and wait for the last; the number of runs."""
        for _ in range(self._at_once - 1):
            self.launch()
        self.run()
        return self._at_once

    @cached_property
    def _at_once(self) -> int:
        self.run()  # records
        begin = time.perf_counter()
        self.run()
        return max(1, round(_TURN_S / (time.perf_counter() - begin)))

    def follow(self, previous: BlockExecutable | None) -> None:
        """As the CPU's; what is recorded once goes on reading buffers of its own."""
        if self._recorded == "once":
            return
        super().follow(previous)
        self._choose_recording()

    def renew(self) -> None:
        """Copy the next inputs into the buffers that are read, except from other blocks."""
        for name in self._renewed:
            value = self._inputs[name]
            if self._read[name] is value:
                value.update_inplace(self._images.take(value.shape()))

    def _choose_recording(self) -> None:
        """Take the recording that reads these addresses; the first run with it records."""
        self._waiting, self._queueing = ort.RunOptions(), ort.RunOptions()
        self._queueing.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if self._recorded != "by address":
            return
        addresses = tuple(value.data_ptr() for value in self._read.values())
        number = self._numbers.setdefault(addresses, len(self._numbers) + 1)
        for options in (self._waiting, self._queueing):
            options.add_run_config_entry("gpu_graph_id", str(number))
