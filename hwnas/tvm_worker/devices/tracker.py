"""The RPC tracker: where boards register by key and are lent out one user at a time.

TVM's own client retries for a minute and then waits for ever; this one speaks the same protocol
with time limits, and without TVM. A message is JSON after its length in 4 bytes, little-endian.
"""

import re
import socket
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import msgspec

from hwnas.errors import MeasurementError, TargetError

__all__ = [
    "Address",
    "RegisteredDevice",
    "TrackerState",
    "ask_tracker",
    "borrow_device",
    "parse_address",
]

_MAGIC = struct.pack("<i", 0x2F271)
_SUCCESS, _REQUEST, _SUMMARY = 0, 4, 6
_CONNECT_S = 5.0
_LARGEST_REPLY = 1 << 24
_SERVER = "server:"


@dataclass(frozen=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class RegisteredDevice:
    """A server that registered."""

    key: str
    address: str


@dataclass(frozen=True)
class TrackerState:
    """What a tracker knows.

    Args:
        devices: All servers, busy or not, sorted.
        free: Number of free servers by key.
        waiting: Number of users that wait for one, by key.
    """

    devices: tuple[RegisteredDevice, ...]
    free: dict[str, int]
    waiting: dict[str, int]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys with at least one server."""
        return tuple(sorted({device.key for device in self.devices}))

    def count(self, key: str) -> int:
        """Number of servers of a key."""
        return sum(device.key == key for device in self.devices)


def parse_address(text: str, default_port: int = 9190) -> Address:
    """Read `HOST:PORT`, `HOST` or `[IPV6]:PORT`.

    Raises:
        TargetError: It is none of them.
    """
    found = re.fullmatch(
        r"(?:\[([0-9a-fA-F:.%\w]+)\]|([^\s:\[\]/]+))(?::(\d{1,5}))?", text.strip()
    )
    port = int(found[3] or default_port) if found else 0
    if found is None or not 0 < port < 1 << 16:
        raise TargetError(f"{text!r} is no address of a tracker: give HOST:PORT")
    return Address(found[1] or found[2], port)


def ask_tracker(address: Address, *, timeout_s: float = _CONNECT_S) -> TrackerState:
    """Ask what is registered.

    Raises:
        MeasurementError: Nothing answers there, or something that is no tracker.
    """
    with closing(_connect(address, timeout_s)) as connection:
        try:
            status, summary = _talk(connection, address, [_SUMMARY], tuple[int, _Summary])
        except TimeoutError:
            raise _no_tracker(address, f"it said nothing for {timeout_s:g} s") from None
    if status != _SUCCESS:
        raise _no_tracker(address, f"it answered {status}")
    devices = sorted(
        (info.key.removeprefix(_SERVER), f"{info.addr[0]}:{info.addr[1]}")
        for info in summary.server_info
    )
    return TrackerState(
        tuple(RegisteredDevice(key, where) for key, where in devices),
        {key: queue.free for key, queue in summary.queue_info.items()},
        {key: queue.pending for key, queue in summary.queue_info.items()},
    )


def borrow_device(address: Address, key: str, *, timeout_s: float) -> tuple[Address, str]:
    """Ask for a free device; it counts as busy until its server registers again.

    Args:
        address: The tracker's.
        key: Of the wanted kind.
        timeout_s: Most time to wait until one is free.

    Returns:
        Address of its server, and the word that it expects.

    Raises:
        MeasurementError: The tracker is gone, knows no such key, or none was free in time.
    """
    state = ask_tracker(address)
    if not state.count(key):
        found = ", ".join(state.keys) or "none at all"
        raise MeasurementError(
            f"no device {key!r} at tracker {address}; registered: {found}; start one on the "
            f"board: hwnas device serve --key {key} --tracker {address}"
        )
    with closing(_connect(address, _CONNECT_S)) as connection:
        connection.settimeout(timeout_s)
        try:
            status, where = _talk(
                connection, address, [_REQUEST, key, "", 1], tuple[int, tuple[str, int, str]]
            )
        except TimeoutError:
            raise MeasurementError(
                f"all {state.count(key)} devices {key!r} at tracker {address} were busy for "
                f"{timeout_s:g} s: wait until they are free, or start more"
            ) from None
    if status != _SUCCESS:
        raise _no_tracker(address, f"it answered {status}")
    host, port, word = where
    return Address(host, port), word


class _Queue(msgspec.Struct):
    free: int
    pending: int


class _Server(msgspec.Struct):
    key: str
    addr: tuple[str | None, int]


class _Summary(msgspec.Struct):
    queue_info: dict[str, _Queue]
    server_info: list[_Server]


def _connect(address: Address, timeout_s: float) -> socket.socket:
    try:
        connection = socket.create_connection((address.host, address.port), timeout_s)
    except OSError as error:
        raise MeasurementError(
            f"no tracker answers at {address}: {error.strerror or error}; start one: "
            f"hwnas device tracker --port {address.port}, or give another by --tracker or "
            "HWNAS_TRACKER"
        ) from error
    try:
        connection.sendall(_MAGIC)
        answer = _receive(connection, len(_MAGIC))
    except OSError as error:
        connection.close()
        raise _no_tracker(address, str(error)) from error
    if answer != _MAGIC:
        connection.close()
        raise _no_tracker(address, "it speaks another protocol")
    return connection


def _talk(connection: socket.socket, address: Address, message: list[Any], reply: Any) -> Any:
    content = msgspec.json.encode(message)
    try:
        connection.sendall(struct.pack("<i", len(content)) + content)
        (size,) = struct.unpack("<i", _receive(connection, 4))
        if not 0 < size <= _LARGEST_REPLY:
            raise _no_tracker(address, f"it announced {size} bytes")
        return msgspec.json.decode(_receive(connection, size), type=reply)
    except TimeoutError:
        raise
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        raise _no_tracker(address, str(error)) from error


def _receive(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(min(size - len(content), 1 << 16))
        if not part:
            raise ConnectionResetError("the connection was closed")
        content += part
    return content


def _no_tracker(address: Address, found: str) -> MeasurementError:
    return MeasurementError(f"what answers at {address} is no TVM tracker: {found}")
