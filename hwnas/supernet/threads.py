"""Sub-nets side by side, one thread each.

Small networks gain little from several threads inside one operator, and lose everything when
another process holds a core: the threads of an operator wait for each other actively (a training
step of `mbconv-digits` then took 12 s in place of 0.55 s). One thread a sub-net has no such
barriers, and its results do not depend on the number of cores.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

__all__ = ["side_by_side"]

_MAX_THREADS = 8


@contextmanager
def side_by_side(device: str = "cpu") -> Iterator[Executor | None]:
    """An executor of as many threads as there are cores, while torch uses one thread an operator.

    Args:
        device: Where torch computes; elsewhere than on the CPU there is no executor.
    """
    if device != "cpu":
        yield None
        return
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(
            min(cores or 1, _MAX_THREADS), "hwnas-subnet", _single_threaded
        ) as executor:
            yield executor
    finally:
        torch.set_num_threads(before)


def _single_threaded() -> None:
    torch.set_num_threads(1)  # torch keeps this number for each thread
