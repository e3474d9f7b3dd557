"""Tuning for GPUs: every kernel by each schedule that can, timed on the GPU; the fastest is kept.

There are some twenty schedules and a compiler takes seconds, so nothing is drawn at random: what
the default order would take comes first, then the others in the order of `SCHEDULES`.
"""

import time
from collections.abc import Callable
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx

from hwnas.tvm_worker.gpu_schedules import SCHEDULES, schedule_as
from hwnas.tvm_worker.kernels import calls_of
from hwnas.tvm_worker.tuning.gpu_records import GpuRecords
from hwnas.tvm_worker.tuning.runner import LocalRunner, Runner
from hwnas.tvm_worker.tuning.summary import TuningSummary

__all__ = ["tune_on_gpu"]

_LAST_RESORT = "fallback"
_BATCH_S = 600.0  # for some twenty candidates, each compiled by itself where they fail together


def tune_on_gpu(
    module: tvm.IRModule,
    target: tvm.target.Target,
    folder: Path,
    *,
    limit_s: float | None,
    trials: int | None,
    on_progress: Callable[[str, float], None],
    runner: Runner | None = None,
) -> TuningSummary:
    """Try schedules of the kernels that `main` calls, as far as the budget goes.

    Args:
        module: Fused: `main` calls PrimFuncs with static shapes.
        target: The GPU.
        folder: Of the records; a kernel whose schedules were all tried is left alone.
        limit_s: Wall time; None for as long as it takes. A kernel that was begun is ended.
        trials: Timed schedules, shared out among the kernels; None for all.
        on_progress: Told what is tuned and the share of the work that is done.
        runner: Times candidates; on this machine if None. Whoever gives one closes it.
    """
    begin = time.monotonic()
    records = GpuRecords(folder, target)
    functions = {name: module[name] for name in dict.fromkeys(calls_of(module))}
    open_ = {
        name: left
        for name, function in functions.items()
        if (left := _untried(name, function, target, records))
    }
    own_runner = runner or LocalRunner(_BATCH_S)
    timed = bettered = 0
    try:
        for done, (name, left) in enumerate(open_.items()):
            elapsed = time.monotonic() - begin
            if limit_s is not None and elapsed >= limit_s:
                break
            on_progress(name, done / len(open_))
            count = len(left)
            if trials is not None:
                count = min(count, (trials - timed) // (len(open_) - done))
            if count > 0:
                names = list(left)
                looked_at = list(SCHEDULES)
                if count < len(names):
                    looked_at = looked_at[: looked_at.index(names[count])]
                tried = {each: left[each] for each in names[:count]}
                bettered += _tune(
                    functions[name], name, tried, looked_at, target, records, own_runner
                )
                timed += count
    finally:
        if runner is None:
            own_runner.close()
    left_over = tuple(name for name, f in functions.items() if records.best(f) is None)
    reused = len(functions) - len(open_)
    return TuningSummary(bettered, reused, timed, time.monotonic() - begin, left_over)


def _untried(
    name: str, function: tirx.PrimFunc, target: tvm.target.Target, records: GpuRecords
) -> dict[str, tirx.PrimFunc]:
    """Schedules that can and were not tried yet, likeliest first, those alike once."""
    record = records.best(function)
    found: dict[str, tirx.PrimFunc] = {}
    for schedule in SCHEDULES:
        if record is None or schedule not in record.tried:
            made = schedule_as(schedule, name, function, target)
            known = made is None or any(tvm_ffi.structural_equal(made, f) for f in found.values())
            if not known:
                found[schedule] = made
    if record is not None or len(found) > 1:  # it serves everything and nothing well
        found.pop(_LAST_RESORT, None)
    return found


def _tune(
    function: tirx.PrimFunc,
    name: str,
    tried: dict[str, tirx.PrimFunc],
    looked_at: list[str],
    target: tvm.target.Target,
    records: GpuRecords,
    runner: Runner,
) -> bool:
    """Time schedules beside the best so far; whether there is a new best.

    Args:
        function: The kernel.
        name: For the log.
        tried: What to time, by name.
        looked_at: What needs no look any more then: timed, alike, or unable.
        target: The GPU.
        records: Of the target.
        runner: Times candidates.
    """
    record = records.best(function)
    candidates = dict(tried)
    if record is not None:
        known = schedule_as(record.schedule, name, function, target)
        if known is not None:
            candidates = {record.schedule: known, **tried}
    modules = [
        tvm.IRModule({"main": f.with_attr("global_symbol", "main")}) for f in candidates.values()
    ]
    times = dict(zip(candidates, runner.measure(modules, target), strict=True))
    timed = {schedule: seconds for schedule, seconds in times.items() if seconds is not None}
    if not timed:
        return False
    fastest = min(timed, key=timed.__getitem__)
    records.add(function, fastest, timed[fastest], tuple(looked_at))
    return record is None or fastest != record.schedule
