"""Schedules for GPUs: TVM's default ones (dlight), and one of our own. Runs where TVM runs.

dlight gives a block of 256 threads to every result of a reduction that is no matrix product. For
the 9 products of a depthwise convolution that leaves 247 of them idle; `ThreadPerResult` gives
each result a thread, whose sum stays in a register.
"""

import logging
from math import prod

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir.dlight.gpu.base import GPUScheduleRule
from tvm.s_tir.dlight.gpu.matmul import (
    auto_inline_consumers,
    auto_inline_producers,
    get_reduction_blocks,
)

from hwnas.errors import LoweringError

__all__ = ["ThreadPerResult", "is_scheduled", "schedule_for_gpu"]

log = logging.getLogger(__name__)

_THREADS = 256  # of a block; several such blocks fit on a multiprocessor
_LONGEST_SUM = 64  # two warps: what is longer is worth the threads of a block
_FEWEST_RESULTS = 8 * _THREADS  # fewer threads leave nearly all of a GPU idle
_ERRORS = (AssertionError, RuntimeError, ValueError, TypeError, IndexError, AttributeError)
"""What dlight's rules raise where they begin on a function that is not of their kind."""


class ThreadPerResult(GPUScheduleRule):  # type: ignore[misc]  # TVM is untyped
    """One thread for each result of a short sum, such as a depthwise convolution or a pool."""

    def apply(
        self,
        func: tirx.PrimFunc,
        target: tvm.target.Target,
        _: bool,
    ) -> s_tir.Schedule | None:
        """The schedule, None where the function is not of that kind."""
        if not isinstance(func, tirx.PrimFunc) or not self.is_target_available(target):
            return None
        schedule = s_tir.Schedule(func)
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
        sums = get_reduction_blocks(schedule, blocks)
        if sums is None or len(sums) != 1:
            return None
        (block,) = sums
        results, length = _extents(schedule, block)
        if length > _LONGEST_SUM or results < _FEWEST_RESULTS:
            return None
        auto_inline_producers(schedule, block)
        auto_inline_consumers(schedule, block)
        after = schedule.get_consumers(block) or [schedule.cache_write(block, 0, "local")]
        if len(after) != 1 or _extents(schedule, after[0])[0] != results:
            return None
        left = schedule.get_child_blocks(schedule.get_sblock("root"))
        if len(left) != 2:
            return None
        loops = schedule.get_loops(block)
        kinds = [each.iter_type for each in schedule.get(block).iter_vars]
        terms = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCE]
        flat = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != _REDUCE]
        schedule.reorder(*flat, *terms)
        grid, thread = schedule.split(schedule.fuse(*flat), [None, _THREADS])
        schedule.bind(grid, "blockIdx.x")
        schedule.bind(thread, "threadIdx.x")
        schedule.reverse_compute_at(after[0], thread, preserve_unit_loops=True)
        schedule.set_scope(block, 0, "local")
        schedule.decompose_reduction(block, terms[0])
        return schedule


_REDUCE = tirx.IterVar.CommReduce
_RULES = (
    dlight.gpu.Matmul(),
    dlight.gpu.GEMV(),
    ThreadPerResult(),
    dlight.gpu.Reduction(),
    dlight.gpu.GeneralReduction(),
    dlight.gpu.Fallback(),
)


def schedule_for_gpu(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """The module with the loops of every function bound to threads, by the first rule that can.

    Raises:
        LoweringError: No rule can.
    """
    made = tvm.IRModule(dict(module.functions_items()), attrs=module.attrs)
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            made.update_func(name, _scheduled(name.name_hint, function, target))
    return made


def is_scheduled(function: tirx.PrimFunc) -> bool:
    """Whether everything that a function computes is in loops that are bound to threads."""
    schedule = s_tir.Schedule(function)
    return all(
        any(schedule.get(loop).thread_binding is not None for loop in schedule.get_loops(block))
        for block in schedule.get_child_blocks(schedule.get_sblock("root"))
    )


def _scheduled(name: str, function: tirx.PrimFunc, target: tvm.target.Target) -> tirx.PrimFunc:
    for rule in _RULES:
        try:
            with target:
                found = rule.apply(function, target, False)
        except _ERRORS as error:
            log.debug("%s leaves %s: %s", type(rule).__name__, name, error)
            continue
        if found is not None:
            return found.mod["main"].with_attr("tirx.is_scheduled", True)
    raise LoweringError(f"TVM has no schedule for {name} on a GPU; --runtime torch")


def _extents(schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> tuple[int, int]:
    """How many results a block has, and how many terms each of them."""
    variables = schedule.get(block).iter_vars
    results = [int(v.dom.extent) for v in variables if v.iter_type != _REDUCE]
    return prod(results), prod(int(v.dom.extent) for v in variables if v.iter_type == _REDUCE)
