"""Which TVM is installed, and whether it is one that works; TVM itself is not imported."""

from dataclasses import dataclass
from importlib import metadata

__all__ = ["EXTRA", "Installation", "find_tvm", "tvm_runtime"]

EXTRA = "pip install 'hwnas[tvm]'"
_SERIES = "0.27."
_SOUND_FFI = ("0.1.14.post0", "0.1.14.post1")
"""Later ones end the process when a module with a kernel is serialised, which tuning does; earlier
ones lack functions that TVM 0.27 calls. TVM's own requirement admits both."""


@dataclass(frozen=True)
class Installation:
    """What was found.

    Args:
        works: Whether the versions fit each other.
        found: One line.
        remedy: What to do if not; empty otherwise.
    """

    works: bool
    found: str
    remedy: str = ""


def find_tvm() -> Installation:
    """Look at the installed versions; cheap, never raises."""
    tvm, ffi = _version("apache-tvm"), _version("apache-tvm-ffi")
    if tvm is None or ffi is None:
        return Installation(False, "TVM is not installed", EXTRA)
    found = f"tvm {tvm} with tvm-ffi {ffi}"
    if not tvm.startswith(_SERIES):
        return Installation(False, f"{found}; hwnas knows TVM {_SERIES}x", EXTRA)
    if ffi not in _SOUND_FFI:
        remedy = f"pip install 'apache-tvm-ffi=={_SOUND_FFI[-1]}'"
        return Installation(False, f"{found}, which crashes or fails with this TVM", remedy)
    return Installation(True, found)


def tvm_runtime() -> str:
    """Name of the runtime in tables, such as `tvm 0.27.0.post1`: tuned kernels, never others."""
    return f"tvm {_version('apache-tvm') or 'missing'}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
