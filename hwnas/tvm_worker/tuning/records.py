"""The folder of tuning records: MetaSchedule's JSON database and a list of finished kernels.

Lines are appended whole and the last one may be torn by a killed process; it is dropped when the
folder is opened.
"""

from pathlib import Path

import tvm
from tvm import s_tir, tirx
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.database import JSONDatabase, TuningRecord

from hwnas.tvm_worker.kernels import kernel_of
from hwnas.tvm_worker.tuning.schedules import Loops, Tile, loops_of, new_schedule, tile_of

__all__ = ["Records"]

_WORKLOADS = "database_workload.json"
_RECORDS = "database_tuning_record.json"
_FINISHED = "finished.txt"
_MANY = 1 << 16  # records of one kernel


class Records:
    """Tuning records for one target.

    Args:
        folder: Where they lie; made if missing.
        target: What they are for; records of other targets are not seen.
    """

    def __init__(self, folder: Path, target: tvm.target.Target) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (_WORKLOADS, _RECORDS, _FINISHED):
            _drop_torn_line(folder / name)
        self._target = target
        self._finished_path = folder / _FINISHED
        self._finished = set(self._finished_path.read_text(encoding="ascii").split())
        self._database = JSONDatabase(str(folder / _WORKLOADS), str(folder / _RECORDS))

    def best(self, function: tirx.PrimFunc) -> TuningRecord | None:
        """The fastest record of a kernel, None if it has none."""
        module = new_schedule(function).mod
        if not self._database.has_workload(module):
            return None
        workload = self._database.commit_workload(module)
        found = self._database.get_top_k(workload, _MANY)
        return next((record for record in found if self._is_ours(record)), None)

    def scheduled(self, function: tirx.PrimFunc) -> tirx.PrimFunc | None:
        """The kernel as its fastest record schedules it, None if it has none."""
        record = self.best(function)
        if record is None:
            return None
        schedule = new_schedule(function)
        record.trace.apply_to_schedule(schedule, remove_postproc=False)
        return schedule.mod["main"].without_attr("global_symbol")

    def add(self, function: tirx.PrimFunc, trace: s_tir.Trace, seconds: float) -> None:
        """Write down a schedule."""
        module = new_schedule(function).mod
        workload = self._database.commit_workload(module)
        arguments = ArgInfo.from_entry_func(module, remove_preproc=False)
        self._database.commit_tuning_record(
            TuningRecord(trace, workload, [seconds], self._target, arguments)
        )

    def is_finished(self, function: tirx.PrimFunc) -> bool:
        """Whether tuning of a kernel came to its end."""
        return kernel_of(function).key in self._finished and self.best(function) is not None

    def finish(self, function: tirx.PrimFunc) -> None:
        """Note that a kernel needs no more tuning."""
        key = kernel_of(function).key
        if key not in self._finished:
            self._finished.add(key)
            with self._finished_path.open("a", encoding="ascii") as file:
                file.write(f"{key}\n")

    def good_tiles(self) -> list[tuple[Loops, Tile]]:
        """Every tuned kernel's loops with its best tile, as far as it has one."""
        best: dict[tvm.ir.IRModule, TuningRecord] = {}
        for record in self._database.get_all_tuning_records():
            if self._is_ours(record):
                known = best.get(record.workload)
                if known is None or _seconds(record) < _seconds(known):
                    best[record.workload] = record
        found = []
        for record in best.values():
            loops, tile = loops_of(record.workload.mod["main"]), tile_of(record.trace)
            if loops is not None and tile is not None:
                found.append((loops, tile))
        return found

    def _is_ours(self, record: TuningRecord) -> bool:
        return record.target is not None and str(record.target) == str(self._target)


def _seconds(record: TuningRecord) -> float:
    return min(float(second) for second in record.run_secs)


def _drop_torn_line(path: Path) -> None:
    """Cut a file after its last line end; make it if it is missing."""
    if not path.exists():
        path.touch()
        return
    with path.open("rb+") as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end != len(content):
            file.truncate(end)
