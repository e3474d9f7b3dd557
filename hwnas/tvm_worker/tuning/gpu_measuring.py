"""Times of candidate schedules on a GPU: compiled together, compared, timed in turns.

A compiler of CUDA takes seconds to start, so all candidates of a kernel are one module; if it does
not compile, each is tried by itself. The first candidate that runs says what a kernel computes;
one that gives something else has no time.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import tvm

from hwnas.tvm_worker.building import run_device
from hwnas.tvm_worker.noise import noise_tensor

__all__ = ["measure_on_gpu"]

_ROUNDS = 3
_REPEATS = 5  # samples of a round
_LEAST_MS = 1  # of a sample: 2000 times the resolution of CUDA's events
_NAME = "candidate_{}"
# Sums in another order, in the precision of the result: some of its steps.
_ROUNDINGS = 64
_STEPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}

Timer = Callable[[], float]


def measure_on_gpu(
    candidates: Sequence[tvm.IRModule], target: tvm.target.Target
) -> list[float | None]:
    """Median time of each candidate on the device in s, None for those that fail.

    Args:
        candidates: Modules whose `main` is a scheduled PrimFunc, all with equal parameters; the
            last of them is the result.
        target: What to build for; code for a processor runs there.
    """
    device = run_device(target)
    forms = [
        (tuple(int(side) for side in parameter.ty.shape), str(parameter.ty.dtype))
        for parameter in candidates[0]["main"].params
    ]
    arguments = [noise_tensor(shape, kind, device) for shape, kind in forms]
    timers: dict[int, Timer] = {}
    expected: npt.NDArray[np.float64] | None = None
    for index, name, module in _built(candidates, target):
        try:
            module[name](*arguments)
            device.sync()
            found = arguments[-1].numpy().astype(np.float64)
        except Exception:  # whatever TVM raises, it is this candidate's failure
            continue
        expected = found if expected is None else expected
        if not _agree(found, expected, forms[-1][1]):
            continue
        evaluate = module.time_evaluator(
            name, device, number=1, repeat=_REPEATS, min_repeat_ms=_LEAST_MS
        )
        timers[index] = partial(_median, evaluate, arguments)
    rounds = [{index: timer() for index, timer in timers.items()} for _ in range(_ROUNDS)]
    return [
        float(np.median([times[index] for times in rounds])) if index in timers else None
        for index in range(len(candidates))
    ]


def _built(
    candidates: Sequence[tvm.IRModule], target: tvm.target.Target
) -> list[tuple[int, str, tvm.runtime.Module]]:
    """Number, name and module of every candidate that compiles."""
    named = {
        _NAME.format(index): candidate["main"].with_attr("global_symbol", _NAME.format(index))
        for index, candidate in enumerate(candidates)
    }
    together = _compiled(named, target)
    if together is not None:
        return [(index, name, together) for index, name in enumerate(named)]
    alone = ((i, name, _compiled({name: f}, target)) for i, (name, f) in enumerate(named.items()))
    return [(index, name, module) for index, name, module in alone if module is not None]


def _compiled(
    functions: dict[str, tvm.tirx.PrimFunc], target: tvm.target.Target
) -> tvm.runtime.Module | None:
    try:
        with target:
            return tvm.tirx.build(tvm.IRModule(functions), target=target)
    except Exception:  # whatever TVM or the compiler raises, it is a candidate's failure
        return None


def _agree(found: npt.NDArray[np.float64], expected: npt.NDArray[np.float64], kind: str) -> bool:
    """Whether two results differ by rounding alone."""
    scale = float(np.abs(expected).max(initial=0.0))
    most = float(np.abs(found - expected).max(initial=0.0))  # NaN compares as too much
    return most <= _ROUNDINGS * _STEPS.get(kind, 0.0) * scale


def _median(evaluate: Callable[..., object], arguments: Sequence[tvm.runtime.Tensor]) -> float:
    return max(1e-9, float(np.median(evaluate(*arguments).results)))  # type: ignore[attr-defined]
