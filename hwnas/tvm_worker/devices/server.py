"""The process on a board: TVM's RPC server, with the board's description; or a tracker.

Run as a program by `hwnas device serve` and `hwnas device tracker`. It says `ready HOST:PORT` on
standard output, and ends with its children on an interrupt or SIGTERM. TVM's server checks nobody:
whoever reaches the port can run any code as the user that started it.
"""

import argparse
import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import tvm_ffi
from tvm.rpc.server import _listen_loop
from tvm.rpc.tracker import TrackerServerHandler

from hwnas.tvm_worker.devices.facts import facts_of_this_device
from hwnas.tvm_worker.devices.tracker import Address

__all__ = ["main"]

log = logging.getLogger(__name__)

_PORTS = 100  # tried after the wanted one
_PR_SET_PDEATHSIG = 1
_PAUSE_S = 0.2


def main() -> None:
    """Serve until told to end."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    _end_with_parent(signal.SIGTERM)
    os.register_at_fork(after_in_child=_become_session)
    listening = _bind(arguments.host, arguments.port)
    where = (arguments.host, listening.getsockname()[1])
    try:
        if arguments.role == "tracker":
            _say_ready(where)
            _track(listening)
        else:
            _serve(listening, where, arguments)
    finally:
        listening.close()
        for child in multiprocessing.active_children():
            child.terminate()
            child.join(2.0)


def _serve(
    listening: socket.socket, where: tuple[str, int], arguments: argparse.Namespace
) -> None:
    facts = msgspec.json.encode(facts_of_this_device(emulated=arguments.emulated)).decode()

    @tvm_ffi.register_global_func("hwnas.device.describe", override=True)  # type: ignore[untyped-decorator]
    def describe() -> str:
        return facts

    tracker = None
    if arguments.start_tracker:
        tracker_listening = _bind(arguments.host, arguments.tracker_port)
        tracker = (arguments.host, tracker_listening.getsockname()[1])
        multiprocessing.Process(target=_track, args=(tracker_listening,), daemon=True).start()
        tracker_listening.close()
    else:
        tracker = (arguments.tracker_host, arguments.tracker_port)
        try:
            socket.getaddrinfo(*tracker, type=socket.SOCK_STREAM)
        except OSError as error:  # in its loop TVM's server would ask again without a pause
            sys.exit(f"cannot find {tracker[0]}: {error.strerror or error}")
    _say_ready(where, tracker)
    key, address = arguments.key, arguments.public_address
    home = Path.cwd()
    while True:
        try:
            _listen_loop(listening, where[1], key, tracker, None, address)
        except (RuntimeError, OSError) as error:  # a session crashed; TVM's own server ends here
            log.warning("%s; waiting for the next session", error)
            os.chdir(home)  # the folder of the session, where TVM left it, is gone
            time.sleep(_PAUSE_S)


def _track(listening: socket.socket) -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    listening.setblocking(False)
    TrackerServerHandler(listening, os.urandom(16).hex()).run()


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket at the first free of some ports; 0 is any free one."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    for candidate in range(port, port + (_PORTS if port else 1)):
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
        except OSError:
            listening.close()
            continue
        listening.listen(16)
        return listening
    sys.exit(f"cannot listen at {host}, ports {port} to {port + _PORTS - 1}")


def _say_ready(where: tuple[str, int], tracker: tuple[str, int] | None = None) -> None:
    at = f" {Address(*tracker)}" if tracker else ""
    sys.stdout.write(f"ready {Address(*where)}{at}\n")
    sys.stdout.flush()


def _stop(_number: int, _frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(0)


def _become_session() -> None:
    """In the process of a session: end when told to, also inside TVM, and with the server."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent(signal.SIGKILL)


def _end_with_parent(number: int) -> None:
    """Ask the system for a signal when the parent ends; only Linux has that."""
    prctl: Callable[..., int] | None = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, int(number))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hwnas.tvm_worker.devices.server")
    parser.add_argument("role", choices=("server", "tracker"))
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="")
    parser.add_argument("--tracker-host", default="")
    parser.add_argument("--tracker-port", type=int, default=9190)
    parser.add_argument("--public-address")
    parser.add_argument("--start-tracker", action="store_true")
    parser.add_argument("--emulated", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
