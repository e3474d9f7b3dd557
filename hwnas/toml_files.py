"""TOML files that describe something in a fixed form; hostile until they are read."""

from importlib.resources.abc import Traversable
from typing import Protocol, TypeVar

import msgspec

from hwnas.errors import TargetError

__all__ = ["read_toml"]

MAX_FILE_BYTES = 1 << 20  # such files have a few thousand


class _Described(Protocol):
    """What has a version of its form."""

    @property
    def schema(self) -> int:
        """The version."""


T = TypeVar("T", bound=_Described)


def read_toml(file: Traversable, form: type[T], kind: str, schema: int) -> T:
    """Read a file into its form.

    Args:
        file: The file.
        form: A msgspec struct with a field `schema`.
        kind: What the file is, for messages, such as `device file`.
        schema: The version that is read.

    Raises:
        TargetError: It cannot be read, is too large, or has another form or version.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TargetError(f"cannot read {kind} {file}: {error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise TargetError(f"{file} has over {MAX_FILE_BYTES} bytes; a {kind} has a few thousand")
    try:
        found = msgspec.toml.decode(content, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TargetError(f"{file} is not a {kind}: {error}") from error
    if found.schema != schema:
        raise TargetError(f"{file} has schema {found.schema}; this version reads {schema}")
    return found
