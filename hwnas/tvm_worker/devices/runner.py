"""Times of candidate schedules on boards: the runner that tuning for a device asks.

A batch is compiled and linked into one library for each board. Candidates run in turns, each as
often as fills two milliseconds, by the board's own wall clock. Where several boards share a batch
each also times the last candidate, by which the others' times are brought to one speed.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tvm

from hwnas.errors import MeasurementError
from hwnas.tvm_worker.cross_compiling import find_linker
from hwnas.tvm_worker.devices.bench import KernelLibrary, arguments_on, build_kernels, loaded_on
from hwnas.tvm_worker.devices.sessions import Board, Boards, Job
from hwnas.tvm_worker.devices.tracker import ask_tracker, parse_address
from hwnas.tvm_worker.messages import CodeTarget

__all__ = ["RemoteRunner"]

_ROUNDS = 5
_ROUND_MS = 2


class RemoteRunner:
    """Times candidates on the boards of a tracker.

    Args:
        code: What code is made for.
        tracker: Address of the tracker.
        key: Of the boards.

    Raises:
        TargetError: There is no linker for the device.
        MeasurementError: The tracker does not answer, or knows no such board.
    """

    def __init__(self, code: CodeTarget, tracker: str, key: str) -> None:
        address = parse_address(tracker)
        self._linker = find_linker(code)
        self._parts = max(1, ask_tracker(address).count(key))
        self._boards = Boards(address, key, threads=code.cores)
        self._folder = Path(tempfile.mkdtemp(prefix="hwnas-tuning-"))
        self._batches = 0

    def measure(
        self, candidates: Sequence[tvm.IRModule], target: tvm.target.Target
    ) -> list[float | None]:
        """Median time of each candidate in s, None for those that fail.

        Raises:
            MeasurementError: No board is left.
        """
        numbers = list(range(len(candidates)))
        parts = min(self._parts, max(1, len(candidates) // 2))
        # The last one is the best so far, if there is any: all times are judged by it.
        groups = [[*numbers[:-1][start::parts], numbers[-1]] for start in range(parts)]
        found, crashed = self._measure(candidates, target, groups)
        if crashed and len(candidates) > 1:  # one by one: the others did nothing wrong
            for number in numbers:
                if number not in found:
                    found |= self._measure(candidates, target, [[number]])[0]
        return [found.get(number) for number in numbers]

    def close(self) -> None:
        """End the sessions."""
        self._boards.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _measure(
        self,
        candidates: Sequence[tvm.IRModule],
        target: tvm.target.Target,
        groups: Sequence[Sequence[int]],
    ) -> tuple[dict[int, float], bool]:
        """Times by number of the candidate, of those that ran, and whether a group crashed."""
        self._batches += 1
        folder = self._folder / str(self._batches)
        folder.mkdir()
        jobs = []
        for position, group in enumerate(groups):
            path = folder / f"candidates{self._batches}_{position}.so"
            library = self._library({number: candidates[number] for number in group}, target, path)
            if library is not None:
                jobs.append(Job(f"{len(library.arguments)} candidates", _Work(library)))
        outcome = self._boards.run(jobs)
        self._boards.forget(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if outcome.failure is not None and not outcome.is_job_at_fault:
            raise MeasurementError(str(outcome.failure))
        parts = [outcome.results[number] for number in sorted(outcome.results)]
        return _at_one_speed(parts, len(candidates) - 1), outcome.is_job_at_fault

    def _library(
        self, group: dict[int, tvm.IRModule], target: tvm.target.Target, path: Path
    ) -> KernelLibrary | None:
        """The candidates that compile."""
        functions = {f"candidate_{number}": module["main"] for number, module in group.items()}
        good = {}
        for name, function in functions.items():
            alone = tvm.IRModule({name: function.with_attr("global_symbol", name)})
            try:
                tvm.tirx.build(alone, target=target)
            except Exception:  # whatever TVM raises, it is this candidate's failure
                continue
            good[name] = function
        if not good:
            return None
        return build_kernels(tvm.IRModule(good), good, target, path, self._linker)


class _Work:
    """Times the candidates of a library on a board, in turns."""

    def __init__(self, library: KernelLibrary) -> None:
        self._library = library

    def __call__(self, board: Board) -> dict[int, float]:
        module = loaded_on(board, self._library.path)
        folder = self._library.path.parent
        seconds: dict[str, list[float]] = {name: [] for name in self._library.arguments}
        for _ in range(_ROUNDS):
            for name, wanted in self._library.arguments.items():
                evaluate = module.time_evaluator(
                    name, board.device, number=1, repeat=1, min_repeat_ms=_ROUND_MS
                )
                seconds[name] += evaluate(*arguments_on(board, folder, wanted)).results
        return {
            int(name.removeprefix("candidate_")): float(np.median(times))
            for name, times in seconds.items()
        }


def _at_one_speed(parts: Sequence[dict[int, float]], common: int) -> dict[int, float]:
    """Times of all parts, scaled so that one candidate has the same time in each."""
    seen: npt.NDArray[np.float64] = np.array([part[common] for part in parts if common in part])
    speed = float(np.median(seen)) if len(seen) else 0.0
    found: dict[int, float] = {}
    for part in parts:
        scale = speed / part[common] if part.get(common) else 1.0
        found |= {number: scale * time for number, time in part.items()}
    return found
