"""Schedules for GPUs: TVM's default ones (dlight), and some of our own. Runs where TVM runs.

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
    MatmulTensorization,
    auto_inline_consumers,
    auto_inline_producers,
    get_reduction_blocks,
)

from hwnas.errors import LoweringError

__all__ = ["SCHEDULES", "ThreadPerResult", "is_scheduled", "schedule_as", "schedule_for_gpu"]

log = logging.getLogger(__name__)

_THREADS = 256  # of a block; several such blocks fit on a multiprocessor
_LONGEST_SUM = 64  # two warps: what is longer is worth the threads of a block
_LONG_SUM = 1024  # of one thread, where many results make up for it: only timing tells
_FEWEST_RESULTS = 8 * _THREADS  # fewer threads leave nearly all of a GPU idle
_SCHEDULED = "tirx.is_scheduled"
_ERRORS = (AssertionError, RuntimeError, ValueError, TypeError, IndexError, AttributeError)
"""What dlight's rules raise where they begin on a function that is not of their kind."""


class ThreadPerResult(GPUScheduleRule):  # type: ignore[misc]  # TVM is untyped
    """One thread for each result of a short sum, such as a depthwise convolution or a pool.

    Args:
        threads: Of a block.
        longest_sum: Terms of a result.
    """

    def __init__(self, threads: int = _THREADS, longest_sum: int = _LONGEST_SUM) -> None:
        self._threads = threads
        self._longest_sum = longest_sum

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
        if length > self._longest_sum or results < _FEWEST_RESULTS:
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
        grid, thread = schedule.split(schedule.fuse(*flat), [None, self._threads])
        schedule.bind(grid, "blockIdx.x")
        schedule.bind(thread, "threadIdx.x")
        schedule.reverse_compute_at(after[0], thread, preserve_unit_loops=True)
        schedule.set_scope(block, 0, "local")
        schedule.decompose_reduction(block, terms[0])
        return schedule


class TiledMatmul(dlight.gpu.Matmul):  # type: ignore[misc]  # TVM is untyped
    """dlight's matrix product with other tiles.

    Convolutions are products too: rows are places of the map, columns channels.

    Args:
        threads: Of a block, along rows and along columns.
        results: Of a thread, along rows and along columns.
        depth: Terms of the sum that are in shared memory at once.
        vector: Numbers that are moved at once.
    """

    def __init__(
        self, threads: tuple[int, int], results: tuple[int, int], depth: int, vector: int
    ) -> None:
        self._config = dlight.gpu.Matmul.Config(
            block_size_x=threads[0],
            block_size_y=threads[1],
            micro_size_x=results[0],
            micro_size_y=results[1],
            micro_size_k=depth,
            vector_size=vector,
            storage_align=True,
        )

    def get_configs(self, target: tvm.target.Target) -> dlight.gpu.Matmul.Config:
        """The tiles; `target` has no say."""
        del target
        return self._config


class TensorCores(MatmulTensorization):  # type: ignore[misc]  # TVM is untyped
    """dlight's matrix product on tensor cores, also where it holds a side to be too short."""

    def apply(
        self, func: tirx.PrimFunc, target: tvm.target.Target, _: bool
    ) -> s_tir.Schedule | None:
        """The schedule, None where nothing is float16."""
        types = {str(parameter.ty.dtype) for parameter in func.params}
        # To look further imports all that TVM knows of tensor cores, which takes minutes.
        return super().apply(func, target, _) if "float16" in types else None


_REDUCE = tirx.IterVar.CommReduce
_DEFAULT: dict[str, GPUScheduleRule] = {
    "matmul": dlight.gpu.Matmul(),
    "gemv": dlight.gpu.GEMV(),
    "thread per result": ThreadPerResult(),
    "reduction": dlight.gpu.Reduction(),
    "general reduction": dlight.gpu.GeneralReduction(),
    "fallback": dlight.gpu.Fallback(),
}
"""In this order: the first that can schedules a function that is not tuned."""
SCHEDULES: dict[str, GPUScheduleRule] = _DEFAULT | {
    "tensor cores": TensorCores(),
    **{
        f"matmul {tx}x{ty} of {rx}x{ry}, {depth} deep": TiledMatmul((tx, ty), (rx, ry), depth, 2)
        for (tx, ty), (rx, ry), depth in (
            ((8, 8), (4, 4), 16),
            ((16, 16), (4, 4), 16),
            ((16, 16), (8, 8), 8),
            ((8, 16), (8, 8), 8),
            ((16, 8), (2, 4), 16),
            ((4, 32), (4, 2), 32),
            ((8, 32), (2, 2), 16),
        )
    },
    **{f"thread per result, {threads}": ThreadPerResult(threads) for threads in (64, 128, 512)},
    "thread per result, long sums": ThreadPerResult(128, _LONG_SUM),
}
"""All that tuning tries; a name in a tuning record keeps its meaning for good."""


def schedule_as(
    schedule: str, name: str, function: tirx.PrimFunc, target: tvm.target.Target
) -> tirx.PrimFunc | None:
    """A function with its loops bound to threads by one schedule, None if that cannot.

    Args:
        schedule: A name of `SCHEDULES`.
        name: Of the function, for the log.
        function: Not scheduled.
        target: The GPU.
    """
    try:
        with target:
            found = SCHEDULES[schedule].apply(function, target, False)
    except _ERRORS as error:
        log.debug("%s leaves %s: %s", schedule, name, error)
        return None
    return None if found is None else found.mod["main"].with_attr(_SCHEDULED, True)


def schedule_for_gpu(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """The module with the loops of every function bound to threads, by the first rule that can.

    Functions that are scheduled already stay as they are.

    Raises:
        LoweringError: No rule can.
    """
    made = tvm.IRModule(dict(module.functions_items()), attrs=module.attrs)
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and _SCHEDULED not in function.attrs:
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
    for schedule in _DEFAULT:
        found = schedule_as(schedule, name, function, target)
        if found is not None:
            return found
    raise LoweringError(f"TVM has no schedule for {name} on a GPU; --runtime torch")


def _extents(schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> tuple[int, int]:
    """How many results a block has, and how many terms each of them."""
    variables = schedule.get(block).iter_vars
    results = [int(v.dom.extent) for v in variables if v.iter_type != _REDUCE]
    return prod(results), prod(int(v.dom.extent) for v in variables if v.iter_type == _REDUCE)
