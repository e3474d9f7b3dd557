"""Boards at an RPC tracker, worked on in parallel. Runs in the TVM process.

Each board is one session with one thread. A job that was on a board when it vanished goes to
another one; a board that falls silent is given up when the job's time is over.
"""

import gc
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import tvm
from tvm import rpc

from hwnas.errors import HwnasError, MeasurementError, TargetError
from hwnas.tvm_worker.devices.facts import DeviceFacts, elf_machine, is_foreign, parse_facts
from hwnas.tvm_worker.devices.tracker import Address, ask_tracker, borrow_device

__all__ = ["Board", "Boards", "Job", "Outcome"]

T = TypeVar("T")

_JOB_S = 120.0
_WAIT_S = 60.0  # for a board that others use
_RETURN_S = 10.0  # for a board to register again: servers look every 2 s
_SESSION_S = 1800.0  # after which a server ends a session that was forgotten
_RENEW_S = 900.0
_MOST_LOSSES = 3  # boards that a job may take with it
_HEADER_BYTES = 64
_BIG_CLUSTER = 1  # TVM's name for pinning its threads to the fastest cores


class Board:
    """A session with one board.

    Args:
        tracker: Where it is registered.
        key: Of its kind.
        threads: Threads that kernels may use on it.
        wait_s: Most time to wait until one is free.

    Raises:
        MeasurementError: There is none, or what answers is no server of TVM's.
    """

    def __init__(self, tracker: Address, key: str, *, threads: int, wait_s: float) -> None:
        where, word = borrow_device(tracker, key, timeout_s=wait_s)
        self.name = f"{key} at {where}"
        self.opened = time.monotonic()
        self.kept: dict[Path, dict[Hashable, Any]] = defaultdict(dict)
        """What jobs leave on the board for the next ones, by folder of what it was made from."""
        try:
            self.session: Any = rpc.connect(where.host, where.port, word, _SESSION_S)
            self.facts = self._describe()
            self.session.get_function("runtime.config_threadpool")(_BIG_CLUSTER, threads)
        except (RuntimeError, OSError) as error:
            raise MeasurementError(f"{self.name} does not answer: {_last_line(error)}") from error

    @property
    def device(self) -> tvm.runtime.Device:
        """Its processor."""
        return self.session.cpu(0)

    def load(self, library: Path) -> tvm.runtime.Module:
        """Upload a library and load it there.

        Raises:
            TargetError: It is for another architecture.
        """
        with library.open("rb") as file:
            made_for = elf_machine(file.read(_HEADER_BYTES))
        if made_for != self.facts.machine:
            raise TargetError(
                f"the code is for {made_for or 'no known architecture'}, and {self.name} runs "
                f"{self.facts.machine}: name the target whose device file has that architecture, "
                "or start the server with the key of another"
            )
        self.session.upload(str(library))
        return self.session.load_module(library.name)

    def answers(self) -> bool:
        """Whether the session is still alive."""
        try:
            return int(self.session.get_function("runtime.NumThreads")()) > 0
        except (RuntimeError, OSError, AttributeError):
            return False

    def close(self) -> None:
        """End the session, and what lies on the board with it.

        TVM's objects refer to each other in circles and keep the session open: left to itself the
        collector may run minutes later, while others wait for the board.
        """
        self.kept.clear()
        self.session = None
        gc.collect()

    def _describe(self) -> DeviceFacts:
        try:
            describe = self.session.get_function("hwnas.device.describe")
        except (RuntimeError, AttributeError):
            return self._describe_plain()
        return parse_facts(str(describe()))

    def _describe_plain(self) -> DeviceFacts:
        """What another server shows: its program, as it and as the system sees it."""
        seen = []
        for path in ("/proc/self/exe", "/proc/thread-self/exe"):
            try:
                seen.append(elf_machine(bytes(self.session.download(path))[:_HEADER_BYTES]))
            except RuntimeError:
                seen.append("")
        own, real = seen
        if not own or not real:
            raise MeasurementError(
                f"{self.name} does not tell what it is: start it by hwnas device serve"
            )
        emulated = is_foreign(own, real)
        why = f"a {own} program under an emulator that is itself {real}" if emulated else ""
        return DeviceFacts(machine=own, emulated=emulated, why=why)


@dataclass(frozen=True)
class Job(Generic[T]):
    """Something to do on any one board.

    Args:
        name: For messages.
        work: Does it; may be called again on another board.
        timed: Whether its result is a time, which an emulator cannot give.
    """

    name: str
    work: Callable[[Board], T]
    timed: bool = True


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What became of jobs.

    Args:
        results: By number of the job.
        failure: Why some have none.
        is_job_at_fault: Whether boards are left on which the job itself fails.
    """

    results: dict[int, T]
    failure: HwnasError | None = None
    is_job_at_fault: bool = False


@dataclass
class _Shift(Generic[T]):
    """One run of jobs."""

    jobs: Sequence[Job[T]]
    waiting: deque[int]
    results: dict[int, T] = field(default_factory=dict)
    losses: dict[int, int] = field(default_factory=dict)
    busy: dict[int, tuple[int | None, float]] = field(default_factory=dict)
    """Job and deadline by worker; a worker that is not here was given up."""
    borrowing: set[int] = field(default_factory=set)
    """Workers that have no board yet."""
    reason: str = ""
    failure: HwnasError | None = None
    is_job_at_fault: bool = False

    @property
    def is_over(self) -> bool:
        return self.failure is not None or len(self.results) == len(self.jobs)


@dataclass(frozen=True)
class _Failure:
    error: HwnasError
    is_final: bool
    is_job_at_fault: bool = False


class Boards:
    """All boards of one key; sessions stay open between runs.

    Args:
        tracker: Where they are registered.
        key: Of their kind.
        threads: Threads that kernels may use on them.
        job_s: Time after which a job counts as lost with its board.
        wait_s: Most time to wait for boards that others use.
        return_s: Most time to wait for a board when none is left.
    """

    def __init__(
        self,
        tracker: Address,
        key: str,
        *,
        threads: int = 1,
        job_s: float = _JOB_S,
        wait_s: float = _WAIT_S,
        return_s: float = _RETURN_S,
    ) -> None:
        self.tracker = tracker
        self.key = key
        self._threads = threads
        self._job_s = job_s
        self._wait_s = wait_s
        self._return_s = return_s
        self._idle: list[Board] = []
        self._changed = threading.Condition()
        self._workers = 0
        self._borrowing = 0
        self._closed = False

    def run(self, jobs: Sequence[Job[T]]) -> Outcome[T]:
        """Do jobs on all boards at once; what is done stays done when the last board is lost.

        Raises:
            MeasurementError: The tracker does not answer, or knows no board of this key.
        """
        if not jobs:
            return Outcome({})
        shift = _Shift(jobs, deque(range(len(jobs))))
        with self._changed:
            boards: list[Board | None] = [*self._idle[: len(jobs)]]
            del self._idle[: len(boards)]
        if len(boards) < len(jobs):
            registered = ask_tracker(self.tracker).count(self.key)
            # Workers of earlier runs may still wait for boards that others use.
            more = min(len(jobs), registered) - len(boards) - self._borrowing
            boards += [None] * max(more, 0 if boards else 1)
        with self._changed:
            for board in boards:
                self._start(shift, board)
            self._watch(shift)
            # Those that still work hold a board that the next run wants.
            while shift.busy.keys() - shift.borrowing:
                self._changed.wait(self._time_left(shift))
                self._give_up_late(shift)
        return Outcome(dict(shift.results), shift.failure, shift.is_job_at_fault)

    def forget(self, folder: Path) -> None:
        """Let boards drop what was made from the files of a folder."""
        with self._changed:
            for board in self._idle:
                board.kept.pop(folder, None)

    def close(self) -> None:
        """End all sessions."""
        with self._changed:
            self._closed = True
            while self._idle:
                self._idle.pop().close()

    def _start(self, shift: _Shift[T], board: Board | None) -> None:
        self._workers += 1
        number = self._workers
        shift.busy[number] = (None, time.monotonic() + self._wait_s + self._job_s)
        shift.borrowing.add(number)
        self._borrowing += 1
        threading.Thread(target=self._work, args=(shift, number, board), daemon=True).start()

    def _watch(self, shift: _Shift[T]) -> None:
        """Wait until all is done; replace boards that are lost, as long as there are any."""
        alone_since: float | None = None
        while not shift.is_over:
            self._give_up_late(shift)
            if shift.busy:
                if shift.busy.keys() - shift.borrowing:
                    alone_since = None
                self._changed.wait(self._time_left(shift))
                continue
            now = time.monotonic()
            alone_since = alone_since or now
            if now - alone_since > self._return_s:
                shift.failure = MeasurementError(
                    f"no device {self.key!r} is left at tracker {self.tracker} "
                    f"({shift.reason or 'none answers'}); {len(shift.results)} of "
                    f"{len(shift.jobs)} parts were done and are kept: start a server again and "
                    "run the same command"
                )
                return
            self._changed.wait(0.5)
            try:
                registered = ask_tracker(self.tracker).count(self.key)
            except MeasurementError as error:
                shift.reason = str(error)
                continue
            if registered:
                self._start(shift, None)

    def _time_left(self, shift: _Shift[T]) -> float:
        deadlines = [deadline for _, deadline in shift.busy.values()]
        return max(0.01, min(deadlines, default=time.monotonic() + 1.0) - time.monotonic())

    def _give_up_late(self, shift: _Shift[T]) -> None:
        now = time.monotonic()
        for number, (index, deadline) in list(shift.busy.items()):
            if now > deadline:
                del shift.busy[number]
                shift.reason = f"one was silent for {self._job_s:g} s"
                if index is not None:
                    self._lose(shift, index)

    def _lose(self, shift: _Shift[T], index: int) -> None:
        """Put a job back whose board is gone."""
        shift.losses[index] = shift.losses.get(index, 0) + 1
        if shift.losses[index] >= _MOST_LOSSES:
            shift.failure = MeasurementError(
                f"{shift.jobs[index].name} has ended the session of {_MOST_LOSSES} devices "
                f"{self.key!r} at tracker {self.tracker}: {shift.reason}"
            )
            shift.is_job_at_fault = True
        shift.waiting.appendleft(index)

    def _work(self, shift: _Shift[T], number: int, board: Board | None) -> None:
        """Do jobs on one board until there are none left or the board is lost."""
        reason = ""
        try:
            board = self._fresh(board)
        except HwnasError as error:
            board, reason = None, str(error)
        with self._changed:
            self._borrowing -= 1
            shift.borrowing.discard(number)
            if board is None:
                if shift.busy.pop(number, None) is not None:
                    shift.reason = reason
                self._changed.notify_all()
                return
        while (index := self._next(shift, number)) is not None:
            result, failure = self._do(shift.jobs[index], board)
            with self._changed:
                if number not in shift.busy:  # given up, and done by another meanwhile
                    board.close()
                    return
                if failure is None:
                    shift.results[index] = result
                elif failure.is_final:
                    shift.failure = failure.error
                    shift.is_job_at_fault = failure.is_job_at_fault
                else:
                    del shift.busy[number]
                    shift.reason = str(failure.error)
                    self._lose(shift, index)
                    board.close()
                self._changed.notify_all()
                if number not in shift.busy:
                    return
        with self._changed:
            if shift.busy.pop(number, None) is not None and not self._closed:
                self._idle.insert(0, board)  # what one board can do, the same one does
            else:
                board.close()
            self._changed.notify_all()

    def _do(self, job: Job[Any], board: Board) -> tuple[Any, _Failure | None]:
        """Do a job; of a failure without what it holds, which would keep the session open."""
        if job.timed and board.facts.emulated:
            text = (
                f"{board.name} is emulated ({board.facts.why}), functional only: it runs networks "
                "for their results, its times are those of no device"
            )
            return None, _Failure(MeasurementError(text), is_final=True)
        try:
            return job.work(board), None
        except HwnasError as error:
            return None, _Failure(type(error)(str(error)), is_final=True)
        except Exception as error:
            text = f"{board.name}: {_last_line(error)}"
        if board.answers():
            text = f"{job.name} fails on {text}"
            return None, _Failure(MeasurementError(text), is_final=True, is_job_at_fault=True)
        return None, _Failure(MeasurementError(text), is_final=False)

    def _fresh(self, board: Board | None) -> Board:
        """A session that lasts for a job."""
        if board is not None:
            if time.monotonic() - board.opened < _RENEW_S:
                return board
            board.close()
        return Board(self.tracker, self.key, threads=self._threads, wait_s=self._wait_s)

    def _next(self, shift: _Shift[T], number: int) -> int | None:
        with self._changed:
            while not shift.is_over and number in shift.busy:
                if shift.waiting:
                    index = shift.waiting.popleft()
                    shift.busy[number] = (index, time.monotonic() + self._job_s)
                    return index
                shift.busy[number] = (None, time.monotonic() + self._job_s)
                self._changed.wait(1.0)
            return None


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
