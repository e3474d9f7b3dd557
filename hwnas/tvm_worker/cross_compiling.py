"""Objects to a library that loads on the device: which linker, and how it is called.

LLVM inside TVM makes code for any processor; what it lacks is a linker. TVM is not imported here.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from hwnas.errors import TargetError
from hwnas.tvm_worker.devices.facts import facts_of_this_device
from hwnas.tvm_worker.messages import CodeTarget

__all__ = ["Linker", "architecture_of", "find_linker"]

_NATIVE = ("c++", "g++", "clang++")
_ZIG_GLIBC = "2.28"  # that of the oldest system for which TVM's own packages are made
_LIMIT_S = 600.0  # the first link by Zig compiles its C library
_SAID_CHARACTERS = 400


class Linker:
    """Links objects into a shared library; TVM's `export_library` takes it as `fcompile`.

    Args:
        command: The program and its first arguments.
        triple: LLVM's triple of what it makes.
    """

    output_format = "so"

    def __init__(self, command: Sequence[str], triple: str) -> None:
        self.command = tuple(command)
        self.triple = triple

    def __call__(
        self, output: str, objects: Iterable[str], options: Sequence[str] | None = None
    ) -> None:
        """Link.

        Raises:
            TargetError: The linker fails.
        """
        files = [str(file) for file in ([objects] if isinstance(objects, str) else objects)]
        command = [*self.command, "-shared", "-fPIC", "-o", str(output), *files, *(options or ())]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"cannot link for {self.triple}: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-_SAID_CHARACTERS:]
            raise TargetError(f"{' '.join(self.command)} cannot link for {self.triple}: {said}")

    def get_target_triple(self) -> str:
        """What TVM asks a compile function for."""
        return self.triple


def architecture_of(code: CodeTarget) -> str:
    """Architecture that code is made for, such as `aarch64`."""
    return code.triple.split("-")[0] if code.triple else facts_of_this_device().machine


def find_linker(code: CodeTarget) -> Linker:
    """A linker for a device: the system's cross compiler, else Zig's.

    Raises:
        TargetError: There is none.
    """
    architecture = architecture_of(code)
    triple = code.triple or f"{architecture}-linux-gnu"
    if "android" in triple:
        return _android_linker(triple)
    candidates = [f"{architecture}-linux-gnu-g++"]
    if architecture == facts_of_this_device().machine:
        candidates += _NATIVE
    for name in candidates:
        if program := shutil.which(name):
            return Linker((program,), triple)
    if find_spec("ziglang") is not None:
        goal = f"{architecture}-linux-gnu.{_ZIG_GLIBC}"
        return Linker((sys.executable, "-m", "ziglang", "cc", "-target", goal), triple)
    package = {"aarch64": "g++-aarch64-linux-gnu", "x86_64": "g++-x86-64-linux-gnu"}
    raise TargetError(
        f"no linker for {triple}: looked for {', '.join(candidates)} and the Python package "
        f"ziglang; apt-get install {package.get(architecture, 'a cross compiler')}, or "
        "pip install ziglang"
    )


def _android_linker(triple: str) -> Linker:
    """A compiler of Android's NDK, whose name ends in the lowest system version it serves."""
    folders = [Path(part) for part in os.get_exec_path()]
    home = os.environ.get("ANDROID_NDK_HOME")
    if home:
        folders += sorted(Path(home).glob("toolchains/llvm/prebuilt/*/bin"))
    found = sorted(file for folder in folders for file in folder.glob(f"{triple}*-clang++"))
    if not found:
        raise TargetError(
            f"no linker for {triple}: looked for {triple}*-clang++ in PATH and ANDROID_NDK_HOME; "
            "install Android's NDK and set ANDROID_NDK_HOME to its folder"
        )
    return Linker((str(found[0]),), triple)
