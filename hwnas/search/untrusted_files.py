"""Reading files of a run that anyone may have changed."""

import os
from pathlib import Path

from hwnas.errors import RunError

__all__ = ["malformed", "read_bytes"]


def read_bytes(path: Path, largest: int) -> bytes:
    """What the file holds, if that is not more than it may be.

    Args:
        path: The file.
        largest: Size in bytes up to which it is read.

    Raises:
        RunError: It is missing, unreadable or too large.
    """
    try:
        with path.open("rb") as file:
            # One byte more than allowed tells a file that is too large, whatever stat says.
            content = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
    except FileNotFoundError:
        raise RunError(
            f"{path.parent} has no {path.name}: the run did not come that far"
        ) from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > largest:
        raise RunError(f"{path} has more than {largest} bytes: hwnas did not write it")
    return content


def malformed(path: Path, why: object) -> RunError:
    """The error to raise for a file whose content is not what hwnas writes.

    Args:
        path: The file.
        why: Reason, such as the decoder's error; kept to one line.
    """
    text = " ".join(str(why).split())[:300]
    return RunError(f"{path} is malformed ({text}): restore it or start afresh")
