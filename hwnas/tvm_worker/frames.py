"""Messages on a pipe: each after its length in 8 bytes, little-endian."""

import os
import select
import time
from typing import BinaryIO

__all__ = ["read_frame", "receive_frame", "write_frame"]

_LENGTH_BYTES = 8
_LARGEST_FRAME_BYTES = 1 << 33
_PART_BYTES = 1 << 20


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Write one message."""
    stream.write(len(content).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(content)
    stream.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """Read one message; None at the end of the stream, also in the middle of a message."""
    length = int.from_bytes(stream.read(_LENGTH_BYTES) or b"", "little")
    if not 0 < length <= _LARGEST_FRAME_BYTES:
        return None
    content = stream.read(length)
    return content if len(content) == length else None


def receive_frame(pipe: BinaryIO, deadline: float) -> bytes | None:
    """Read one message by a moment of the monotonic clock; None as for `read_frame`.

    The descriptor itself is read: what a stream reads ahead into its buffer, such as a second
    message, `select` would wait for in vain.

    Raises:
        TimeoutError: The message was not complete by then.
    """
    length = int.from_bytes(_receive(pipe, _LENGTH_BYTES, deadline), "little")
    if not 0 < length <= _LARGEST_FRAME_BYTES:
        return None
    content = _receive(pipe, length, deadline)
    return content if len(content) == length else None


def _receive(pipe: BinaryIO, size: int, deadline: float) -> bytes:
    """So many bytes, or fewer at the end."""
    content = bytearray()
    while len(content) < size:
        left_s = max(0.0, deadline - time.monotonic())
        if not select.select([pipe], [], [], left_s)[0]:
            raise TimeoutError
        part = os.read(pipe.fileno(), min(size - len(content), _PART_BYTES))
        if not part:
            break
        content += part
    return bytes(content)
