"""The TVM process as seen from hwnas: started when first asked, and blamed when it dies."""

import atexit
import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from functools import lru_cache
from types import TracebackType
from typing import BinaryIO, Self, TypeVar, cast

import msgspec

from hwnas import errors
from hwnas.errors import HwnasError, MeasurementError, PluginError
from hwnas.progress import Progress, silent
from hwnas.tvm_worker.command import python_command
from hwnas.tvm_worker.frames import receive_frame, write_frame
from hwnas.tvm_worker.installation import EXTRA, find_tvm
from hwnas.tvm_worker.messages import (
    Done,
    Failed,
    Greeting,
    Request,
    Response,
    Results,
    Working,
)

__all__ = ["TvmWorker", "shared_worker"]

log = logging.getLogger(__name__)

_START_S = 300.0  # importing TVM takes 4 to 40 s, on a loaded machine longer
_ANSWER_S = 1800.0  # the slowest single request but tuning: building a large network
_TAIL_BYTES = 4000
_TAIL_LINES = 8

T = TypeVar("T")


class TvmWorker:
    """One child process that runs TVM.

    Args:
        threads: Threads that compiled code may use.

    Raises:
        PluginError: TVM is missing, of a version that does not work, or does not start.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._greeting: Greeting | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def greeting(self) -> Greeting:
        """What the child said when it came up; starts it."""
        self._running()
        assert self._greeting is not None  # set when the process is started
        return self._greeting

    def request(
        self,
        message: Request,
        reply: type[T],
        *,
        progress: Progress = silent,
        timeout_s: float = _ANSWER_S,
    ) -> T:
        """Ask the child for something and wait for it.

        Args:
            message: The request.
            reply: Type of its result.
            progress: Called with what the child says while it works.
            timeout_s: Wall time after which the child counts as stuck and is ended.

        Raises:
            HwnasError: As the child raised it.
            MeasurementError: The child died or was stuck; the next request starts a new one.
        """
        process = self._running()
        try:
            response = self._exchange(process, message, progress, timeout_s)
        except HwnasError:
            raise
        except BaseException:  # its answer to this must not pass for the one to the next
            _kill_session(process)
            process.wait()
            raise
        if isinstance(response, Failed):
            raise _error(response)
        return msgspec.msgpack.decode(response.result, type=reply)

    def forget(self, message: Request) -> None:
        """Ask the child to forget something, unless it has ended, and forgot it with that."""
        if self._process is not None and self._process.poll() is None:
            self.request(message, Results)

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        message: Request,
        progress: Progress,
        timeout_s: float,
    ) -> Done | Failed:
        """Send a request and wait for the end of it."""
        action = type(message).__name__
        deadline = time.monotonic() + timeout_s
        # A model does not fit into the pipe, and a child that is stuck reads nothing.
        limit = threading.Timer(timeout_s, _kill_session, (process,))
        limit.start()
        try:
            write_frame(cast(BinaryIO, process.stdin), msgspec.msgpack.encode(message))
        except BrokenPipeError:
            if time.monotonic() >= deadline:
                raise MeasurementError(_stuck(action)) from None
            raise self._ended(action) from None
        finally:
            limit.cancel()
        while True:
            content = self._read(process, deadline, action)
            response: Response = msgspec.msgpack.decode(content, type=Response)
            if not isinstance(response, Working):
                return response
            progress(response.text, response.share)

    def close(self) -> None:
        """End the child, and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        try:
            process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            _kill_session(process)
            process.wait()
        self._remove_files()

    def _remove_files(self) -> None:
        """What the child has left: one that is killed cannot remove its files."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = self._start()
        return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        found = find_tvm()
        if not found.works:
            raise PluginError(f"{found.found}: {found.remedy}")
        self._said.seek(0)
        self._said.truncate()
        begin = time.monotonic()
        self._remove_files()
        self._folder = tempfile.TemporaryDirectory(prefix="hwnas-tvm-", ignore_cleanup_errors=True)
        process = subprocess.Popen(
            python_command("hwnas.tvm_worker.main"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={
                **os.environ,
                "TVM_NUM_THREADS": str(self._threads),
                "TMPDIR": self._folder.name,
            },
            start_new_session=True,  # an interrupt is for the parent, which then ends the child
        )
        self._process = process
        try:
            content = self._read(process, begin + _START_S, "start")
        except MeasurementError as error:
            raise PluginError(f"{found.found} does not run here: {error}; {EXTRA}") from None
        self._greeting = msgspec.msgpack.decode(content, type=Greeting)
        log.info("%s is up after %.1f s", found.found, time.monotonic() - begin)
        return process

    def _read(self, process: subprocess.Popen[bytes], deadline: float, action: str) -> bytes:
        try:
            content = receive_frame(cast(BinaryIO, process.stdout), deadline)
        except TimeoutError:
            _kill_session(process)
            raise MeasurementError(_stuck(action)) from None
        if content is None:
            raise self._ended(action)
        return content

    def _ended(self, action: str) -> MeasurementError:
        process = self._process
        assert process is not None
        code = process.wait()
        why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return MeasurementError(f"TVM died in {action} ({why}){self._last_words()}")

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, size - _TAIL_BYTES))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return ": " + " | ".join(lines[-_TAIL_LINES:]) if lines else ""


@lru_cache(maxsize=4)
def shared_worker(threads: int = 1) -> TvmWorker:
    """The TVM process of this process for a number of threads; ends with it."""
    worker = TvmWorker(threads)
    atexit.register(worker.close)
    return worker


def _stuck(action: str) -> str:
    return f"TVM was stuck in {action} and was ended"


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """End the child and its own children; it leads a session of its own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()


def _error(failed: Failed) -> HwnasError:
    found = getattr(errors, failed.error, None)
    if isinstance(found, type) and issubclass(found, HwnasError):
        return found(failed.message)
    return MeasurementError(f"TVM: {failed.message}")
