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
from hwnas.toml_files import read_toml

__all__ = [
    "AcceleratorChip",
    "AcceleratorCore",
    "EnergyModel",
    "FpgaArray",
    "PeakRates",
    "Processor",
    "Remote",
    "Runtime",
    "Target",
    "available_targets",
    "get_target",
]

SCHEMA = 1
_MAX_THREADS = 1024
_MAX_CORES = 64
_CORE_RANGES = {  # what the model takes, and buffers of up to 1 GiB
    "pes": (1, 1 << 20),
    "bandwidth": (1, 1 << 20),
    "hop_latency": (0, 1 << 10),
    "l1_bytes": (1, 1 << 30),
    "l2_bytes": (1, 1 << 30),
}
_MAX_DSP_BLOCKS = 1 << 16
_ARRAY_SIDES = (2, 16)
_NAMES = {  # what compilers and trackers are given, so no blanks, quotes or further options
    "cpu": re.compile(r"[a-z0-9][a-z0-9._-]{0,63}"),
    "feature": re.compile(r"[+-][a-z0-9._-]{1,63}"),
    "triple": re.compile(r"[a-z0-9_.]+(-[a-z0-9_.]+){1,3}"),
    "key": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    "package": re.compile(r"[A-Z0-9]{1,32}"),
}


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How networks run on the device."""

    threads: int = 1
    precision: Literal["float32", "int8"] = "float32"


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


class AcceleratorCore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array of processing elements (PEs) on a chip.

    Args:
        dataflow: How layers are mapped: weight-, output- or row-stationary.
        pes: Processing elements.
        bandwidth: Elements per cycle between the shared buffer and the PEs.
        l1_bytes: Buffer of one PE.
        l2_bytes: Shared buffer.
        hop_latency: Cycles that the first element of a transfer takes.
    """

    dataflow: Literal["dla", "shi", "rs"]
    pes: int
    bandwidth: int
    l1_bytes: int
    l2_bytes: int
    hop_latency: int = 1


class AcceleratorChip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An accelerator that is modelled, layer by layer.

    Args:
        cores: At least one; a layer runs on the one that is fastest for it.
        technology: Name of the technology profile.
        clock_hz: Clock of the cores.
        dram_bandwidth_bytes_per_s: 0 where DRAM is never waited for.
        reference: Sources of the numbers.
    """

    cores: tuple[AcceleratorCore, ...]
    technology: str
    clock_hz: float
    dram_bandwidth_bytes_per_s: float = 0.0
    reference: str = ""


class FpgaArray(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An FPGA with a systolic array on it; the clock comes from its characterisation.

    Args:
        family: Whose RTL and characterisation serve.
        device: Nextpnr's name of the device, such as `25k`.
        package: Of the chip.
        speed: Grade.
        dsp_blocks: 18 x 18 multipliers.
        side: N of the N x N array.
        reference: Sources of the numbers.
    """

    family: Literal["ecp5"]
    device: Literal["12k", "25k", "45k", "85k"]
    package: str
    speed: Literal[6, 7, 8]
    dsp_blocks: int
    side: int
    reference: str = ""


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
        accelerator: Cores of a chip that is modelled.
        fpga: An FPGA and the array on it.
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
    accelerator: AcceleratorChip | None = None
    fpga: FpgaArray | None = None

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
        accelerator = decisive.pop("accelerator")
        if accelerator is not None:
            decisive["accelerator"] = {**accelerator, "reference": ""}
        fpga = decisive.pop("fpga")
        if fpga is not None:
            decisive["fpga"] = {**fpga, "reference": ""}
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
    target = read_toml(file, Target, "device file", SCHEMA)
    if expected is not None and target.name != expected:
        raise TargetError(f"{file} calls itself {target.name!r}, its folder {expected!r}")
    for part in (target.peak, target.energy, target.processor, target.accelerator):
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
    _check_cores(target, file)
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
    if (target.runtime.precision == "int8") != (target.fpga is not None):
        raise TargetError(
            f"{file}: precision int8 is that of targets with [fpga], and of no others"
        )
    if target.fpga is not None:
        wanted.append(("package", target.fpga.package))
        if not 1 <= target.fpga.dsp_blocks <= _MAX_DSP_BLOCKS:
            raise TargetError(
                f"{file}: {target.fpga.dsp_blocks} DSP blocks; 1 to {_MAX_DSP_BLOCKS}"
            )
        if not _ARRAY_SIDES[0] <= target.fpga.side <= _ARRAY_SIDES[1]:
            raise TargetError(f"{file}: array side {target.fpga.side}; 2 to {_ARRAY_SIDES[1]}")
    for kind, name in wanted:
        if _NAMES[kind].fullmatch(name) is None:
            raise TargetError(
                f"{file}: {kind} {name!r} is none; it must match {_NAMES[kind].pattern}"
            )


def _check_cores(target: Target, file: Traversable) -> None:
    if target.accelerator is None:
        return
    if not 1 <= len(target.accelerator.cores) <= _MAX_CORES or target.accelerator.clock_hz == 0.0:
        raise TargetError(f"{file}: an accelerator has 1 to {_MAX_CORES} cores, and a clock")
    for core in target.accelerator.cores:
        for field, value in msgspec.structs.asdict(core).items():
            low, high = _CORE_RANGES.get(field, (0, 0))
            if isinstance(value, int) and not low <= value <= high:
                raise TargetError(f"{file}: {field} of a core is {value}, not {low} to {high}")


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
