"""What works on this machine, and what to do about the rest."""

import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np

from hwnas import _core
from hwnas.backends import get_backend
from hwnas.costs import default_table_path
from hwnas.errors import HwnasError, MeasurementError
from hwnas.fpga import tools as fpga_tools
from hwnas.fpga.simulator import simulator_kinds
from hwnas.nvidia import search_gpu
from hwnas.profiling.rapl import find_rapl
from hwnas.targets import GpuRuntime, Settings, available_targets, get_target
from hwnas.tvm_worker import find_tvm

__all__ = ["Check", "examine"]

_LITTLE_SPACE_BYTES = 1 << 30
_HOST = "Debian: apt install g++"
_CROSS = "Debian: apt install g++-aarch64-linux-gnu; or pip install ziglang"


@dataclass(frozen=True)
class Check:
    """One part of the machine or the installation.

    Args:
        part: What was looked at.
        works: Whether it does.
        found: What was found.
        remedy: What to do if it does not.
    """

    part: str
    works: bool
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """Look at everything; never raises."""
    return [
        Check("python", True, f"{platform.python_version()} on {platform.machine()}"),
        *(_package(name) for name in ("numpy", "onnx", "onnxruntime", "torch")),
        _tvm(),
        *_compilers(),
        *_fpga(),
        *_gpu(),
        _engine(),
        *(_target(name) for name in available_targets()),
        _rapl(),
        _disk(),
    ]


def _package(name: str) -> Check:
    try:
        return Check(name, True, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}")


def _tvm() -> Check:
    found = find_tvm()
    return Check("tvm", found.works, found.found, found.remedy)


def _compilers() -> list[Check]:
    """What links exported libraries; nothing else needs them."""
    host = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    cross = shutil.which("aarch64-linux-gnu-g++") or find_spec("ziglang")
    return [
        Check(
            "compiler",
            host is not None,
            host or "none: no library can be exported",
            "" if host else _HOST,
        ),
        Check(
            "compiler for aarch64",
            cross is not None,
            "there" if cross else "none: nothing can be sent to or exported for such boards",
            "" if cross else _CROSS,
        ),
    ]


def _fpga() -> list[Check]:
    """What characterises and simulates arrays; the targets themselves need neither."""
    found = (fpga_tools.find_yosys(), fpga_tools.find_nextpnr())
    there = " ".join(f"{tool.name} {tool.version}" for tool in found if tool is not None)
    kinds = simulator_kinds()
    return [
        Check(
            "place and route for FPGAs",
            None not in found,
            there or "none: arrays that do not ship cannot be characterised",
            "" if None not in found else fpga_tools.EXTRA,
        ),
        Check(
            "simulation of RTL",
            bool(kinds),
            " ".join(kinds) or "none: RTL cannot be checked",
            "" if kinds else fpga_tools.EXTRA,
        ),
    ]


def _gpu() -> list[Check]:
    """The GPU, the runtimes that work on it, and its energy counter; one line without a GPU."""
    found = search_gpu()
    if found.gpu is None:
        return [Check("GPU", False, found.reason, found.remedy)]
    checks = [Check("GPU", True, f"{found.reason}, {found.gpu.architecture}")]
    for runtime in get_args(GpuRuntime):
        target = get_target("cuda").with_settings(Settings(runtime=runtime))
        works = get_backend(target).is_available(target)
        checks.append(Check(f"GPU runtime {runtime}", works.works, works.reason, works.remedy))
    try:
        found.gpu.energy_j()
    except MeasurementError as error:
        checks.append(Check("GPU energy counter", False, f"{error}: energy is not known"))
    else:
        checks.append(Check("GPU energy counter", True, "there: energy is measured"))
    return checks


def _engine() -> Check:
    nothing = np.empty(0, np.uint8)
    empty = _core.SlotTable(nothing, [], [], np.zeros(1), ["sum"])
    return Check("native engine", True, f"instruction set {empty.instruction_set}")


def _target(name: str) -> Check:
    try:
        target = get_target(name)
        found = get_backend(target).is_available(target)
    except HwnasError as error:
        return Check(f"target {name}", False, str(error))
    return Check(f"target {name}", found.works, found.reason, found.remedy)


def _rapl() -> Check:
    if find_rapl() is not None:
        return Check("energy counters", True, "RAPL is readable: energy is measured")
    if platform.system() == "Linux" and Path("/sys/class/powercap/intel-rapl:0").is_dir():
        return Check(
            "energy counters",
            False,
            "RAPL is there but not readable: energy is modelled",
            "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj",
        )
    return Check("energy counters", False, "none: energy is modelled, and marked so")


def _disk() -> Check:
    folder = default_table_path().parent
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    enough = free > _LITTLE_SPACE_BYTES
    remedy = "" if enough else "free some space, or put the table elsewhere with --table"
    return Check("disk for the cost table", enough, f"{free / 2**30:.1f} GiB at {there}", remedy)
