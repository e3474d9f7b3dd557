"""Which schedule is the fastest for a kernel on a GPU: lines of JSON beside other records.

Lines are appended whole and the last one may be torn by a killed process; it is left out. The last
line of a kernel counts.
"""

import logging
from pathlib import Path

import msgspec
import tvm
from tvm import relax, tirx

from hwnas.tvm_worker.gpu_schedules import SCHEDULES, schedule_as
from hwnas.tvm_worker.kernels import calls_of, kernel_of

__all__ = ["GpuRecord", "GpuRecords", "apply_gpu_records"]

log = logging.getLogger(__name__)

_FILE = "gpu_schedules.jsonl"


class GpuRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fastest schedule of a kernel so far.

    Args:
        target: What it was timed on, as TVM writes targets.
        kernel: Key of the kernel.
        schedule: A name of `gpu_schedules.SCHEDULES`.
        seconds: Its time.
        tried: Names of all that need not be tried again: timed, failed, or unable.
    """

    target: str
    kernel: str
    schedule: str
    seconds: float
    tried: tuple[str, ...]


class GpuRecords:
    """Records for one target.

    Args:
        folder: Where they lie; made when the first is added.
        target: What they are for; records of other targets are not seen.
    """

    def __init__(self, folder: Path, target: tvm.target.Target) -> None:
        self._path = folder / _FILE
        self._target = str(target)
        self._best: dict[str, GpuRecord] = {}
        content = self._path.read_bytes() if self._path.exists() else b""
        self._is_torn = bool(content) and not content.endswith(b"\n")
        for line in content.splitlines():
            try:
                record = msgspec.json.decode(line, type=GpuRecord)
            except (msgspec.DecodeError, UnicodeDecodeError):
                log.warning("%s: a line is no record and is left out", self._path)
                continue
            if record.target == self._target and record.schedule in SCHEDULES:
                self._best[record.kernel] = record

    def best(self, function: tirx.PrimFunc) -> GpuRecord | None:
        """The record of a kernel, None if it has none."""
        return self._best.get(kernel_of(function).key)

    def add(
        self, function: tirx.PrimFunc, schedule: str, seconds: float, tried: tuple[str, ...]
    ) -> None:
        """Write down the fastest schedule of a kernel."""
        key = kernel_of(function).key
        record = GpuRecord(self._target, key, schedule, seconds, tried)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(b"\n" * self._is_torn + msgspec.json.encode(record) + b"\n")
        self._is_torn = False
        self._best[key] = record


def apply_gpu_records(
    module: tvm.IRModule, target: tvm.target.Target, folder: Path
) -> tuple[tvm.IRModule, tuple[str, ...]]:
    """The module with its kernels scheduled as recorded, and the names of those without a record.

    Args:
        module: Fused.
        target: The GPU.
        folder: Of the records.
    """
    records = GpuRecords(folder, target)
    made = tvm.IRModule(dict(module.functions_items()), attrs=module.attrs)
    left = []
    for name in dict.fromkeys(calls_of(module)):
        function = module[name]
        record = records.best(function)
        found = None if record is None else schedule_as(record.schedule, name, function, target)
        if found is None:
            left.append(name)
        elif not relax.analysis.has_reshape_pattern(found):  # else TVM would not call it any more
            made.update_func(made.get_global_var(name), found)
    return made, tuple(left)
