"""Boards: serve one, keep a tracker, list what is registered."""

import ipaddress
import signal
from collections.abc import Callable
from types import FrameType

from hwnas.errors import MeasurementError, TargetError
from hwnas.tvm_worker.devices.process import DeviceProcess
from hwnas.tvm_worker.devices.tracker import Address, TrackerState, ask_tracker, parse_address

__all__ = ["NO_AUTHENTICATION", "list_devices", "serve_device", "serve_tracker", "tracker_of"]

NO_AUTHENTICATION = (
    "TVM's RPC has no authentication: whoever can reach this port can run any code here, as the "
    "user that started it"
)
_ANYWHERE = ("0.0.0.0", "::")


def tracker_of(text: str | None) -> Address:
    """The tracker's address from an option or the environment.

    Raises:
        TargetError: There is none, or it is malformed.
    """
    if not text:
        raise TargetError("no tracker is named: give --tracker HOST:PORT or set HWNAS_TRACKER")
    return parse_address(text)


def list_devices(tracker: str | None) -> TrackerState:
    """What is registered at a tracker.

    Raises:
        TargetError: No tracker is named.
        MeasurementError: None answers there.
    """
    return ask_tracker(tracker_of(tracker))


def serve_device(
    key: str,
    tracker: str | None,
    *,
    host: str,
    port: int,
    start_tracker: bool,
    public_address: str | None,
    emulated: bool,
    on_ready: Callable[[Address, Address], None],
    note: Callable[[str], None],
) -> None:
    """Serve this machine as a board until an interrupt or SIGTERM.

    Args:
        key: Kind of board, such as `raspberry_pi_4`.
        tracker: Address of the tracker to register at; ignored if one is started.
        host: Address to listen at.
        port: First port to try.
        start_tracker: Whether to run a tracker here too.
        public_address: Under which users reach this machine, if not as the tracker sees it.
        emulated: Whether the processor is imitated, so that times say nothing.
        on_ready: Called with the addresses of the server and the tracker.
        note: Called with what the user should know.

    Raises:
        TargetError: The key or the tracker is malformed.
        MeasurementError: The server does not start, or ended by itself.
    """
    if not key or not key.isprintable() or any(mark in key for mark in ": "):
        raise TargetError(f"{key!r} is no key of devices: use letters, digits, '.', '_', '-'")
    arguments = ["server", "--host", host, "--port", str(port), "--key", key]
    if start_tracker:
        arguments.append("--start-tracker")
    else:
        where = tracker_of(tracker)
        arguments += ["--tracker-host", where.host, "--tracker-port", str(where.port)]
        if is_loopback(host) and not is_loopback(where.host):
            note(
                f"only this machine reaches {host}: to be used from elsewhere give --host with "
                "this machine's address in a trusted network, or forward the port by ssh"
            )
    if public_address:
        arguments += ["--public-address", public_address]
    if emulated:
        arguments.append("--emulated")
    note(_warning(host))
    _run_until_told(arguments, lambda p: on_ready(p.address, p.tracker))


def serve_tracker(
    *, host: str, port: int, on_ready: Callable[[Address], None], note: Callable[[str], None]
) -> None:
    """Keep a tracker until an interrupt or SIGTERM.

    Raises:
        MeasurementError: It does not start, or ended by itself.
    """
    note(_warning(host))
    arguments = ["tracker", "--host", host, "--port", str(port)]
    _run_until_told(arguments, lambda process: on_ready(process.address))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _warning(host: str) -> str:
    reach = "users of this machine only" if is_loopback(host) else f"all that can reach {host}"
    if host in _ANYWHERE:
        reach = "all networks of this machine"
    return f"{NO_AUTHENTICATION}. Open to: {reach}"


def _run_until_told(arguments: list[str], on_ready: Callable[[DeviceProcess], None]) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with DeviceProcess(*arguments, quiet=False) as process:
            on_ready(process)
            code = process.wait()
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)
    if code:
        raise MeasurementError(f"the {arguments[0]} ended by itself with exit code {code}")
