"""Files that are, at any moment, wholly the old one or wholly the new one.

A file is written beside its place, synced, and moved there. What a killed process left half
written is replaced by the next write. What the disk refuses becomes one line that says what to do.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hwnas.errors import RunError

__all__ = ["replace_file", "translated_disk_errors"]


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file or replace it, wholly or not at all.

    Args:
        path: The file; its folder exists. One process at a time writes it.
        write: Called with the open file, such as `lambda file: file.write(content)`. If it raises,
            the old file stays and the error passes through; an OSError is translated.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    with translated_disk_errors(path.name, path.parent):
        try:
            part.unlink(missing_ok=True)
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextmanager
def translated_disk_errors(what: str, folder: Path) -> Iterator[None]:
    """Turn an OSError of the block into a RunError of one line.

    Args:
        what: What the block writes.
        folder: Where it writes that.

    Raises:
        RunError: The block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"the disk is full: {what} could not be written in {folder}; everything "
                "written before is intact: free some space and go on with --resume"
            ) from error
        raise RunError(f"cannot write {what} in {folder}: {error.strerror or error}") from error


def _sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where the system knows how."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
