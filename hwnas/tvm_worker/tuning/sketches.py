"""Schedules for kernels that no tile serves: random members of MetaSchedule's own design space.

Softmax and normalisation have several reductions; TVM's generic rules are made for such.
"""

import importlib
import sys
import types
from collections.abc import Iterator

import tvm
from tvm import s_tir, tirx

from hwnas.tvm_worker.tuning.schedules import new_schedule

__all__ = ["sketches"]

_INTRINSICS = "tvm.s_tir.tensor_intrin"
_SMALL_FLOPS = 1 << 12


def sketches(
    function: tirx.PrimFunc, target: tvm.target.Target, seed: int, rounds: int
) -> Iterator[s_tir.Schedule]:
    """Schedules, drawn anew in each round; for tiny kernels the unscheduled one comes first.

    Args:
        function: The kernel.
        target: What it is for.
        seed: Of MetaSchedule's own generator; positive.
        rounds: How often each sketch is filled in.
    """
    if s_tir.analysis.estimate_tir_flops(tvm.IRModule({"main": function})) < _SMALL_FLOPS:
        yield new_schedule(function)
    _skip_gpu_intrinsics()
    from tvm.s_tir import meta_schedule as ms

    module = new_schedule(function).mod
    for number in range(rounds):
        context = ms.TuneContext(
            module,
            target=target,
            space_generator="post-order-apply",
            search_strategy="replay-trace",
            task_name="main",
            rand_state=seed + number,
            num_threads=1,
        )
        for schedule in context.generate_design_space():
            if all(rule.apply(schedule) for rule in context.space_generator.postprocs):
                yield schedule


def _skip_gpu_intrinsics() -> None:
    """MetaSchedule imports every processor's intrinsics, which takes 25 s; CPUs need two files."""
    if _INTRINSICS in sys.modules:
        return
    package = types.ModuleType(_INTRINSICS)
    package.__path__ = [f"{path}/tensor_intrin" for path in s_tir.__path__]
    sys.modules[_INTRINSICS] = package
    for name in ("x86", "arm_cpu"):
        importlib.import_module(f"{_INTRINSICS}.{name}")
