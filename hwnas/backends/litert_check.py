"""Files for LiteRT that somebody else made, tried where a crash does no harm.

LiteRT is native code that trusts its files: it follows their offsets without looking. So a file is
first read by the schema, where every offset out of its bounds is an error, and run once, in a
process of its own with bounded time and memory.
"""

import os
import subprocess
import sys
from pathlib import Path

from hwnas.errors import HwnasError, LoweringError

__all__ = ["checked_model"]

LARGEST_BYTES = 2**31 - 1  # offsets in a flatbuffer are signed 32-bit numbers
_IDENTIFIER = b"TFL3"  # after the first offset
_LIMIT_S = 120.0
_REFUSED = 3


def checked_model(path: Path, threads: int) -> bytes:
    """The content of a file that LiteRT has run once without harm.

    Args:
        path: The file.
        threads: That it will run with.

    Raises:
        LoweringError: It is too large, no such file, refused, or ends or stalls LiteRT.
    """
    size = path.stat().st_size
    if not 0 < size <= LARGEST_BYTES:
        raise LoweringError(f"{path} has {size} bytes; 1 byte to 2 GiB are possible")
    content = path.read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise LoweringError(
            f"{path} is no .tflite file: its bytes 4 to 8 are {content[4:8]!r}, and those of "
            f"such files are {_IDENTIFIER!r}"
        )
    command = [sys.executable, "-P", "-m", "hwnas.backends.litert_check", str(threads)]
    try:
        tried = subprocess.run(
            command, input=content, capture_output=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LoweringError(
            f"{path}: LiteRT was not done with one run after {_LIMIT_S:g} s"
        ) from None
    if tried.returncode == _REFUSED:
        raise LoweringError(f"{path}: {tried.stdout.decode(errors='replace').strip()}")
    if tried.returncode:
        raise LoweringError(
            f"{path} ends LiteRT (exit status {tried.returncode}): it is damaged, or uses an "
            "operator that this version cannot run"
        )
    return content


def main() -> int:
    """Try the model on standard input; the exit status says what came of it."""
    content = sys.stdin.buffer.read()
    _bound_memory(len(content))
    try:
        _read_by_schema(content)
        from hwnas.backends.litert_executable import LitertExecutable

        LitertExecutable(content, int(sys.argv[1])).run()
    except HwnasError as error:
        said = str(error)
    except MemoryError:
        said = "it asks for more memory than this machine has"
    except Exception as error:  # the reader raises whatever its first wrong number leads to
        said = f"it is damaged: {type(error).__name__}: {error}"
    else:
        return 0
    sys.stdout.write(said)
    return _REFUSED


def _bound_memory(size: int) -> None:
    """At most the memory of this machine, so that no other process is ended for this one."""
    try:
        import resource
    except ImportError:
        return
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (max(most, size), max(most, size)))


def _read_by_schema(content: bytes) -> None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if not model.subgraphs or not model.operatorCodes:
        raise LoweringError("it holds no network")


if __name__ == "__main__":
    sys.exit(main())
