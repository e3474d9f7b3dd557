"""Times of candidate schedules: in one process that stays, so that none of them can end tuning.

Importing TVM takes seconds and building a kernel 50 ms, so the process is started once and gets
modules as JSON. The candidates of a batch run in turns, by the thread's CPU time: what else the
machine does then touches all of them alike. A candidate that crashes or hangs costs a new process;
those of its batch are then tried one by one.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import BinaryIO, Protocol, cast

import msgspec
import numpy as np
import tvm
import tvm_ffi

from hwnas.errors import MeasurementError
from hwnas.tvm_worker.building import is_gpu
from hwnas.tvm_worker.command import python_command
from hwnas.tvm_worker.frames import read_frame, receive_frame, write_frame

__all__ = ["LocalRunner", "Runner", "main"]

_START_S = 300.0  # importing TVM on a loaded machine
_BATCH_S = 60.0
_ROUNDS = 7
_ROUND_S = 2e-3
_HOPELESS = 4.0  # times as slow as the best of the batch: one round is enough
_NOISE_SEED = 0


class Runner(Protocol):
    """Builds and times candidates, here or on a device."""

    def measure(
        self, candidates: Sequence[tvm.IRModule], target: tvm.target.Target
    ) -> list[float | None]:
        """Median time of each candidate in s, None for those that fail.

        Args:
            candidates: Modules whose `main` is a scheduled PrimFunc, all with equal parameters.
            target: What to build for.
        """
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


class _Batch(msgspec.Struct):
    target: str
    candidates: tuple[str, ...]


class _Times(msgspec.Struct):
    seconds: tuple[float | None, ...]


class LocalRunner:
    """Times candidates on this machine.

    Args:
        limit_s: Wall time for a batch; more, and the process is taken to hang.
    """

    def __init__(self, limit_s: float = _BATCH_S) -> None:
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def measure(
        self, candidates: Sequence[tvm.IRModule], target: tvm.target.Target
    ) -> list[float | None]:
        """See `Runner`."""
        texts = [str(tvm.ir.save_json(candidate)) for candidate in candidates]
        found = self._ask(texts, target)
        if found is None and len(texts) > 1:
            return [(self._ask([text], target) or [None])[0] for text in texts]
        return found or [None]

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _ask(self, texts: list[str], target: tvm.target.Target) -> list[float | None] | None:
        process = self._running()
        batch = _Batch(str(tvm.ir.save_json(target)), tuple(texts))
        try:
            write_frame(cast(BinaryIO, process.stdin), msgspec.msgpack.encode(batch))
            answer = _read(process, self._limit_s)
        except BrokenPipeError:
            answer = None
        if answer is None:
            self.close()
            return None
        return list(msgspec.msgpack.decode(answer, type=_Times).seconds)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                python_command(__name__),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "TVM_NUM_THREADS": os.environ.get("TVM_NUM_THREADS", "1")},
            )
            if _read(self._process, _START_S) is None:
                self.close()
                raise MeasurementError(
                    "the process that times candidates did not start; its last words are above"
                )
        return self._process


def main() -> None:
    """The process: batches on standard input, times on standard output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    write_frame(answers, b"ready")
    while (content := read_frame(sys.stdin.buffer)) is not None:
        batch = msgspec.msgpack.decode(content, type=_Batch)
        times = _Times(tuple(_measure(batch)))
        write_frame(answers, msgspec.msgpack.encode(times))


def _measure(batch: _Batch) -> list[float | None]:
    target = tvm.ir.load_json(batch.target)
    if is_gpu(target):
        from hwnas.tvm_worker.tuning.gpu_measuring import measure_on_gpu

        return measure_on_gpu([tvm.ir.load_json(text) for text in batch.candidates], target)
    functions = []
    arguments: list[tvm.runtime.Tensor] = []
    for text in batch.candidates:
        module = tvm.ir.load_json(text)
        arguments = arguments or _noise(module["main"])
        try:
            functions.append(tvm.tirx.build(module, target=target)["main"])
        except Exception:  # whatever TVM raises, it is this candidate's failure
            functions.append(None)
    seconds: list[list[float]] = [[] for _ in functions]
    calls = [0] * len(functions)
    for number in range(_ROUNDS):
        best = min((min(times) for times in seconds if times), default=np.inf)
        for index, function in enumerate(functions):
            if function is None or (number and min(seconds[index]) > _HOPELESS * best):
                continue
            if not number:
                calls[index] = max(1, round(_ROUND_S / _time(function, arguments, 1)))
                calls[index] = max(1, round(_ROUND_S / _time(function, arguments, 2)))
            seconds[index].append(_time(function, arguments, calls[index]))
    return [float(np.median(times)) if times else None for times in seconds]


def _time(function: tvm_ffi.Function, arguments: list[tvm.runtime.Tensor], calls: int) -> float:
    begin = time.thread_time_ns()
    for _ in range(calls):
        function(*arguments)
    return max(1e-9, 1e-9 * (time.thread_time_ns() - begin) / calls)


def _noise(function: tvm.tirx.PrimFunc) -> list[tvm.runtime.Tensor]:
    rng = np.random.default_rng(_NOISE_SEED)
    made = []
    for parameter in function.params:
        shape = [int(side) for side in parameter.ty.shape]
        values = rng.standard_normal(shape)
        made.append(tvm.runtime.tensor(np.asarray(values, dtype=str(parameter.ty.dtype))))
    return made


def _read(process: subprocess.Popen[bytes], limit_s: float) -> bytes | None:
    """The next message; None if the process ends or says nothing in time."""
    try:
        return receive_frame(cast(BinaryIO, process.stdout), time.monotonic() + limit_s)
    except TimeoutError:
        return None
