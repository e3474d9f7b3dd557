"""Gradients of several sub-nets on one batch, summed: one step for all.

A parameter that no path uses gets a gradient of None, so that neither momentum nor weight decay
moves it. Gradients are summed in the order of the paths: the result does not depend on which
thread is done first.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

import torch
from torch import Tensor, nn

from hwnas.spaces import Architecture

__all__ = ["Gradients", "Metrics", "Objective", "path_gradients", "set_gradients"]

Metrics = dict[str, float]
Gradients = tuple[Tensor | None, ...]
"""One entry per parameter; None where it was not used."""
Objective = Callable[[int, Tensor, Tensor | None], Tensor]
"""Called as `objective(index, logits, teacher)` with the index of the path, its logits, and for
all but the first path the logits of the first one, detached. Returns a scalar."""
_Derived = tuple[Gradients, float]


def path_gradients(
    supernet: nn.Module,
    paths: Sequence[Architecture],
    images: Tensor,
    objective: Objective,
    *,
    executor: Executor | None = None,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> tuple[list[Gradients], list[float]]:
    """Gradients of each path by itself, `(paths)` of `(parameters)`, and their losses.

    Args:
        supernet: Called as `supernet(images, path)`.
        paths: Sub-nets; the first one runs before the others, which may learn from it.
        images: `(n, c, h, w)`.
        objective: Loss of each path.
        executor: Runs the sub-nets side by side.
        scale: Applied to a loss before its gradient is taken.
    """
    parameters = list(supernet.parameters())

    def derive(loss: Tensor) -> _Derived:
        gradients = torch.autograd.grad(scale(loss), parameters, allow_unused=True)
        return gradients, loss.item()

    def lead() -> _Derived:
        return derive(objective(0, first.pop(), None))

    def follow(index: int) -> _Derived:
        return derive(objective(index, supernet(images, paths[index]), teacher))

    first = [supernet(images, paths[0])]
    teacher = first[0].detach()
    jobs: list[Callable[[], _Derived]] = [lead]
    jobs += [partial(follow, index) for index in range(1, len(paths))]
    if executor is None or len(jobs) == 1:
        results = [job() for job in jobs]
    else:
        results = [future.result() for future in [executor.submit(job) for job in jobs]]
    return [gradients for gradients, _ in results], [loss for _, loss in results]


def set_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Gradients]) -> None:
    """Set every parameter's gradient to the sum over the paths that use it, or to None.

    Args:
        parameters: In the order of the gradients' entries.
        gradients: Of each path.
    """
    for parameter, parts in zip(parameters, zip(*gradients, strict=True), strict=True):
        total: Tensor | None = None
        for part in parts:
            if part is not None:
                total = part if total is None else total + part
        parameter.grad = total
