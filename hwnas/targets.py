"""Targets: what a device is, read from `targets/<device>/device.toml`.

A *kind* of hardware is code (a backend), a *device* is data (this file). User devices are TOML
files given by path, or entry points of the group `hwnas.targets` that name a folder.
"""

import hashlib
import math
import platform
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

import msgspec

from hwnas.errors import PluginError, TargetError
from hwnas.plugins import load_plugin, plugins

__all__ = [
    "EnergyModel",
    "PeakRates",
    "Processor",
    "Remote",
    "Runtime",
    "Target",
    "available_targets",
    "get_target",
]

SCHEMA = 1
_MAX_FILE_BYTES = 1 << 20
_MAX_THREADS = 1024
_NAMES = {  # what compilers and trackers are given, so no blanks, quotes or further options
    "cpu": re.compile(r"[a-z0-9][a-z0-9._-]{0,63}"),
    "feature": re.compile(r"[+-][a-z0-9._-]{1,63}"),
    "triple": re.compile(r"[a-z0-9_.]+(-[a-z0-9_.]+){1,3}"),
    "key": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
}


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How networks run on the device."""

    threads: int = 1
    precision: Literal["float32"] = "float32"


class EnergyModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where energy comes from; the constants serve when nothing can be measured.

    Args:
        source: `rapl` (measured where the counters are readable) or `model`.
        energy_j_per_mac: One float32 multiply-accumulate, in J.
        energy_j_per_byte: Moving one byte of an operand, in J.
        reference: Source of the two constants.
    """

    source: Literal["rapl", "model"]
    energy_j_per_mac: float
    energy_j_per_byte: float
    reference: str


class PeakRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rates of a modelled device."""

    macs_per_s: float
    bandwidth_bytes_per_s: float
    kernel_overhead_s: float


class Processor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What code is compiled for, and how fast the cores are that run it.

    Args:
        architecture: Of the instruction set.
        cpu: LLVM's name of the core, such as `cortex-a72`; `host` is the machine hwnas runs on.
        features: LLVM's attributes beyond those of `cpu`, such as `+neon`.
        triple: LLVM's target triple, such as `aarch64-linux-gnu`; empty for this machine's own.
        cores: Cores of that kind.
        clock_hz: Highest clock of such a core by default; 0 where it is not known.
        reference: Sources of the numbers.
    """

    architecture: Literal["x86_64", "aarch64"]
    cpu: str = "host"
    features: tuple[str, ...] = ()
    triple: str = ""
    cores: int = 1
    clock_hz: float = 0.0
    reference: str = ""


class Remote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a device elsewhere is found.

    Args:
        key: Under which boards of this kind register at an RPC tracker.
    """

    key: str


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device.

    Args:
        schema: Version of the file format.
        name: Same as the folder's.
        description: One line.
        backend: Kind of hardware: name of the backend that compiles and measures.
        local: Whether it is the machine that hwnas runs on.
        runtime: How networks run.
        energy: Energy source and constants.
        peak: Rates, for modelled devices.
        processor: What compilers generate code for.
        remote: How boards are found, for devices elsewhere.
    """

    schema: int
    name: str
    description: str
    backend: str
    energy: EnergyModel
    local: bool = False
    runtime: Runtime = Runtime()
    peak: PeakRates | None = None
    processor: Processor | None = None
    remote: Remote | None = None

    def with_threads(self, threads: int | None) -> "Target":
        """The same device run with another number of threads; None changes nothing.

        Raises:
            TargetError: The number is not sensible.
        """
        if threads is None:
            return self
        if not 1 <= threads <= _MAX_THREADS:
            raise TargetError(f"{threads} threads asked for; 1 to {_MAX_THREADS} make sense")
        runtime = msgspec.structs.replace(self.runtime, threads=threads)
        return msgspec.structs.replace(self, runtime=runtime)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all that decides a number on this target.

        Prose does not, nor does how a board is found.
        """
        energy = msgspec.structs.replace(self.energy, reference="")
        numbers = msgspec.structs.replace(self, description="", energy=energy)
        decisive = msgspec.to_builtins(numbers)
        del decisive["remote"]
        processor = decisive.pop("processor")
        if processor is not None:
            decisive["processor"] = {**processor, "reference": ""}
        described = msgspec.json.encode(decisive, order="sorted")
        host = _processor() if self.local else ""
        return hashlib.sha256(described + host.encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """Processor of a local target, or an empty string."""
        return _processor() if self.local else ""


def available_targets() -> tuple[str, ...]:
    """Names of all devices, sorted."""
    return tuple(sorted({name for name, _ in _own_devices()} | set(plugins("hwnas.targets"))))


def get_target(name: str) -> Target:
    """Read a device.

    Args:
        name: A name of `available_targets()`, or the path of a TOML file.

    Raises:
        TargetError: There is no such device, or its file is malformed.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise TargetError(f"device file {name!r} does not exist")
        return _decode(path, expected=None)
    own = dict(_own_devices())
    if name in own:
        return _decode(own[name], expected=name)
    if name in plugins("hwnas.targets"):
        folder = load_plugin("hwnas.targets", name)
        if not isinstance(folder, str | Path):
            raise PluginError(f"target plug-in {name!r} must name a folder, not {folder!r}")
        return _decode(Path(folder) / "device.toml", expected=name)
    known = ", ".join(available_targets())
    raise TargetError(
        f"unknown target {name!r}; available: {known}; or give the path of a device.toml"
    )


def _own_devices() -> Iterator[tuple[str, Traversable]]:
    for folder in files("hwnas.data").joinpath("targets").iterdir():
        file = folder.joinpath("device.toml")
        if folder.is_dir() and file.is_file():
            yield folder.name, file


def _decode(file: Traversable, expected: str | None) -> Target:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TargetError(f"cannot read device file {file}: {error}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise TargetError(
            f"{file} has over {_MAX_FILE_BYTES} bytes; a device file has a few hundred"
        )
    try:
        target = msgspec.toml.decode(content, type=Target)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TargetError(f"{file} is not a device file: {error}") from error
    if target.schema != SCHEMA:
        raise TargetError(f"{file} has schema {target.schema}; this version reads {SCHEMA}")
    if expected is not None and target.name != expected:
        raise TargetError(f"{file} calls itself {target.name!r}, its folder {expected!r}")
    for part in (target.peak, target.energy, target.processor):
        numbers = msgspec.structs.asdict(part) if part is not None else {}
        for field, value in numbers.items():
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0.0):
                raise TargetError(f"{file}: {field} is {value}, not a finite number")
    if target.peak is not None and 0.0 in (
        target.peak.macs_per_s,
        target.peak.bandwidth_bytes_per_s,
    ):
        raise TargetError(f"{file}: a rate in [peak] is 0")
    _check_names(target, file)
    return target.with_threads(target.runtime.threads)


def _check_names(target: Target, file: Traversable) -> None:
    """Refuse names that a compiler or a tracker could read as something else."""
    wanted: list[tuple[str, str]] = []
    if target.processor is not None:
        processor = target.processor
        wanted += [("cpu", processor.cpu), *(("feature", each) for each in processor.features)]
        if processor.triple:
            wanted.append(("triple", processor.triple))
            if not processor.triple.startswith(f"{processor.architecture}-"):
                raise TargetError(
                    f"{file}: triple {processor.triple!r} is not of {processor.architecture}"
                )
        if not 1 <= processor.cores <= _MAX_THREADS:
            raise TargetError(f"{file}: {processor.cores} cores; 1 to {_MAX_THREADS} make sense")
    if target.remote is not None:
        wanted.append(("key", target.remote.key))
    for kind, name in wanted:
        if _NAMES[kind].fullmatch(name) is None:
            raise TargetError(
                f"{file}: {kind} {name!r} is none; it must match {_NAMES[kind].pattern}"
            )


@lru_cache(maxsize=1)
def _processor() -> str:
    """Model of this machine's processor, as far as the system tells."""
    facts = [platform.machine()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        wanted = ("vendor_id", "cpu family", "model", "model name", "stepping")
        found: dict[str, str] = {}
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                found.setdefault(name.strip(), value.strip())
        facts += [found[name] for name in wanted if name in found]
    else:
        facts.append(platform.processor())
    return " ".join(facts)
