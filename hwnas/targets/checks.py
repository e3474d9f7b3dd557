"""Whether what a device file says makes sense; files of anyone are hostile until checked."""

import math
import re
from importlib.resources.abc import Traversable

import msgspec

from hwnas.errors import TargetError
from hwnas.targets.target import MAX_BATCH, MAX_THREADS, Settings, Target

__all__ = ["check_target"]

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
    "architecture": re.compile(r"sm_[0-9]{2,3}a?"),
}


def check_target(target: Target, file: Traversable) -> None:
    """Check a device that was read.

    Raises:
        TargetError: Something makes no sense; file, field and value are named.
    """
    for part in (target.peak, target.energy, target.processor, target.accelerator, target.gpu):
        numbers = msgspec.structs.asdict(part) if part is not None else {}
        rates = numbers.pop("flops_per_s", {})
        for field, value in {**numbers, **rates}.items():
            if isinstance(value, float) and not (math.isfinite(value) and value >= 0.0):
                raise TargetError(f"{file}: {field} is {value}, not a finite number")
    if target.peak is not None and 0.0 in (
        target.peak.macs_per_s,
        target.peak.bandwidth_bytes_per_s,
    ):
        raise TargetError(f"{file}: a rate in [peak] is 0")
    _check_names(target, file)
    _check_cores(target, file)
    _check_gpu(target, file)
    target.with_settings(Settings(target.runtime.threads))


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
        if not 1 <= processor.cores <= MAX_THREADS:
            raise TargetError(f"{file}: {processor.cores} cores; 1 to {MAX_THREADS} make sense")
    if target.remote is not None:
        wanted.append(("key", target.remote.key))
    precision = target.runtime.precision
    if (precision == "int8") != (target.fpga is not None):
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


def _check_gpu(target: Target, file: Traversable) -> None:
    gpu = target.gpu
    if gpu is None:
        if target.runtime.precision not in ("float32", "int8"):
            raise TargetError(
                f"{file}: precision {target.runtime.precision} is for targets with [gpu]"
            )
        if target.energy.source == "nvml":
            raise TargetError(f"{file}: energy source nvml is for targets with [gpu]")
        return
    if not 1 <= gpu.batch <= MAX_BATCH:
        raise TargetError(f"{file}: batch {gpu.batch}; 1 to {MAX_BATCH}")
    if gpu.architecture and _NAMES["architecture"].fullmatch(gpu.architecture) is None:
        raise TargetError(
            f"{file}: architecture {gpu.architecture!r} is none; it must match "
            f"{_NAMES['architecture'].pattern}"
        )
