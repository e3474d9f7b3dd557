"""A server or a tracker as a child of this process. TVM is not imported here."""

import select
import signal
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

from hwnas.errors import MeasurementError, PluginError
from hwnas.tvm_worker.command import python_command
from hwnas.tvm_worker.devices.tracker import Address, parse_address
from hwnas.tvm_worker.installation import find_tvm

__all__ = ["DeviceProcess"]

_START_S = 300.0  # importing TVM takes 4 s here and a minute on a small board
_END_S = 10.0
_TAIL_CHARACTERS = 400


class DeviceProcess:
    """Runs `hwnas.tvm_worker.devices.server` until it is told to end, or its parent thread ends.

    Args:
        arguments: Of that program.
        quiet: Whether its log is kept back; else it goes to standard error.

    Raises:
        PluginError: TVM is missing or of a version that does not work.
    """

    def __init__(self, *arguments: str, quiet: bool = True) -> None:
        found = find_tvm()
        if not found.works:
            raise PluginError(f"{found.found}: {found.remedy}")
        self._said = tempfile.TemporaryFile() if quiet else None  # noqa: SIM115 (lives as long)
        self._process = subprocess.Popen(
            python_command("hwnas.tvm_worker.devices.server", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        self._role = arguments[0]
        self._ready: tuple[Address, ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> Address:
        """Where it listens; waits until it does.

        Raises:
            MeasurementError: It does not start, for example because its ports are taken.
        """
        return self._addresses()[0]

    @property
    def tracker(self) -> Address:
        """Where the tracker is, of a server.

        Raises:
            MeasurementError: As for `address`.
        """
        return self._addresses()[-1]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """End it, and with it the sessions that it serves."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _addresses(self) -> tuple[Address, ...]:
        if not self._ready:
            word, *addresses = self._ready_line().split() or [""]
            if word != "ready" or not addresses:
                self.stop()
                raise MeasurementError(f"the {self._role} did not start{self._last_words()}")
            self._ready = tuple(parse_address(address) for address in addresses)
        return self._ready

    def _ready_line(self) -> str:
        stream = self._process.stdout
        assert stream is not None
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if select.select([stream], [], [], 1.0)[0]:
                return stream.readline().decode(errors="replace")
        return ""

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        return f": {said[-_TAIL_CHARACTERS:]}" if said else ""
