"""Tuning of kernels within a budget, and networks made of tuned kernels. Runs in the TVM process.

The next batch goes to the kernel that may still save most of the total: how often it is called,
times its best time, times what its last batches gained. Tiles of the most alike kernels that are
tuned already are tried first.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tvm
from tvm import relax, tirx

from hwnas.tvm_worker.building import is_gpu
from hwnas.tvm_worker.kernels import calls_of
from hwnas.tvm_worker.tuning.gpu_records import apply_gpu_records
from hwnas.tvm_worker.tuning.records import Records
from hwnas.tvm_worker.tuning.runner import LocalRunner, Runner
from hwnas.tvm_worker.tuning.schedules import Loops, Tile, new_schedule, tile_of
from hwnas.tvm_worker.tuning.search import KernelSearch
from hwnas.tvm_worker.tuning.summary import TuningSummary
from hwnas.tvm_worker.tuning.tiles import vector_unit

__all__ = ["apply_database", "tune"]

_BATCH = 4


def tune(
    module: tvm.IRModule,
    target: tvm.target.Target,
    database: Path,
    *,
    limit_s: float | None,
    trials: int | None,
    seed: int,
    on_progress: Callable[[str, float], None],
    runner: Runner | None = None,
    weights: Mapping[str, float] | None = None,
) -> TuningSummary:
    """Tune the kernels that `main` calls, as far as the budget goes.

    Args:
        module: Fused: `main` calls PrimFuncs with static shapes.
        target: What for; its processor and attributes say how long vectors are.
        database: Folder of records, for this target and others.
        limit_s: Wall time; None for as long as it helps.
        trials: Timed candidates; None for as many as help.
        seed: Of all draws.
        on_progress: Told what is tuned and the share of the work that is done.
        runner: Times candidates; on this machine if None. Whoever gives one closes it.
        weights: How often a second of a kernel counts, by name; calls in `main` if None.
    """
    begin = time.monotonic()
    records = Records(database, target)
    functions = _functions(module)
    counts = weights if weights is not None else Counter(calls_of(module))
    unit, rng = vector_unit(target), np.random.default_rng(seed)
    reused = sum(records.is_finished(function) for function in functions.values())
    searches = {
        name: KernelSearch(function, target, unit, float(counts.get(name, 1.0)), seed)
        for name, function in functions.items()
        if not records.is_finished(function)
    }
    known = records.good_tiles()
    for search in searches.values():
        _resume(search, records)
    bettered: set[str] = set()
    timed = 0
    own_runner = runner or LocalRunner()
    try:
        while True:
            open_searches = {n: s for n, s in searches.items() if not s.is_done}
            elapsed = time.monotonic() - begin
            share = _share(elapsed, limit_s, timed, trials, len(open_searches), len(searches))
            if not open_searches or share >= 1:
                break
            name = max(open_searches, key=lambda each: open_searches[each].urgency)
            on_progress(name, share)
            count = _BATCH
            if trials is not None:  # shared out, so that every kernel gets a record
                without = sum(each.best is None for each in open_searches.values())
                count = min(_BATCH, max(1, (trials - timed) // max(1, without)))
            tried, better = _step(searches[name], own_runner, target, known, rng, count)
            timed += tried
            if better:
                bettered.add(name)
                _record(searches[name], records, known)
    finally:
        if runner is None:
            own_runner.close()
    for search in searches.values():
        if search.best is not None:
            records.finish(search.function)
    left = tuple(name for name, search in searches.items() if search.best is None)
    return TuningSummary(len(bettered), reused, timed, time.monotonic() - begin, left)


def apply_database(
    module: tvm.IRModule, target: tvm.target.Target, database: Path
) -> tuple[tvm.IRModule, tuple[str, ...]]:
    """The module with its kernels scheduled, and the names of those without a record."""
    if is_gpu(target):
        return apply_gpu_records(module, target, database)
    records = Records(database, target)
    scheduled, left = {}, []
    for name, function in _functions(module).items():
        found = records.scheduled(function)
        if found is None:
            left.append(name)
        elif not relax.analysis.has_reshape_pattern(found):  # else TVM would not call it any more
            scheduled[name] = found
    made = tvm.IRModule(dict(module.functions_items()), attrs=module.attrs)
    for name, function in scheduled.items():
        made.update_func(made.get_global_var(name), function)
    return made, tuple(left)


def _functions(module: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    """Kernels that `main` calls; reshapes become views and are none."""
    return {name: module[name] for name in dict.fromkeys(calls_of(module))}


def _resume(search: KernelSearch, records: Records) -> None:
    record = records.best(search.function)
    if record is not None:
        schedule = new_schedule(search.function)
        record.trace.apply_to_schedule(schedule, remove_postproc=False)
        search.resume(float(record.run_secs[0]), schedule, tile_of(record.trace))


def _step(
    search: KernelSearch,
    runner: Runner,
    target: tvm.target.Target,
    known: list[tuple[Loops, Tile]],
    rng: np.random.Generator,
    count: int,
) -> tuple[int, bool]:
    """One batch: how many were timed, whether one of them is the new best."""
    candidates = search.propose(count, known, rng)
    if not candidates:
        return 0, False
    modules = [schedule.mod for schedule, _ in candidates]
    if search.best is not None:
        modules.append(search.best[1].mod)
    times = runner.measure(modules, target)
    again = times[-1] if search.best is not None else None
    return len(candidates), search.learn(candidates, times[: len(candidates)], again)


def _record(search: KernelSearch, records: Records, known: list[tuple[Loops, Tile]]) -> None:
    assert search.best is not None  # called after a batch that held a new best
    seconds, schedule, tile = search.best
    records.add(search.function, schedule.trace, seconds)
    if search.loops is not None and tile is not None:
        known[:] = [pair for pair in known if pair[0] != search.loops]
        known.append((search.loops, tile))


def _share(
    elapsed: float, limit_s: float | None, timed: int, trials: int | None, left: int, all_: int
) -> float:
    """The largest share of any budget that is spent."""
    spent = [1 - left / max(1, all_)]
    if limit_s is not None:
        spent.append(elapsed / limit_s if limit_s > 0 else 1.0)
    if trials is not None:
        spent.append(timed / trials if trials > 0 else 1.0)
    return max(spent)
