"""How much the loss depends on the weights that a choice of a block takes.

For a weight w with gradient g, `w * g` is to first order what the loss loses when w becomes 0
(Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient Inference, ICLR
2017). Sums over the slices of an elastic supernet compare choices that were never run.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.spaces import Population, SearchSpace
from hwnas.supernet.supernet import Choice, Supernet
from hwnas.supernet.view import part_of

__all__ = ["population_sums", "slice_sum", "slot_sums", "weight_gradients"]

SlotSums = tuple[npt.NDArray[np.float64], ...]
"""Per block `(slots,)`, in the order of `SearchSpace.slots`."""


def weight_gradients(
    supernet: Supernet, images: Tensor, objective: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """Gradients of all stored weights on the largest network, by name; 0 where it uses none.

    Args:
        supernet: The supernet.
        images: `(n, c, h, w)`.
        objective: Logits `(n, classes)` to a scalar.
    """
    parameters = supernet.shared_parameters()
    loss = objective(supernet(images, supernet.space.largest()))
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }


def slice_sum(
    supernet: Supernet, values: Mapping[str, Tensor], block: int, choice: Choice
) -> float:
    """Sum of values over the weights that one choice of a block takes; 0 for an empty one.

    Args:
        supernet: Says which weights these are.
        values: One tensor a stored weight, of its shape; weights that are not there count 0.
        block: Index of the block.
        choice: Option indices of its decisions.
    """
    sums: list[Tensor] = []
    for view in supernet.block_views(block, choice):
        value = values.get(supernet.stored_name(block, choice, view.local))
        if value is not None:
            sums.append(part_of(value, view).sum())
    return float(torch.stack(sums).sum()) if sums else 0.0


def slot_sums(supernet: Supernet, values: Mapping[str, Tensor]) -> SlotSums:
    """`slice_sum` of every choice of every block."""
    space = supernet.space
    return tuple(
        np.array([slice_sum(supernet, values, block, choice) for choice in space.slots(block)])
        for block in range(len(space.blocks))
    )


def population_sums(
    space: SearchSpace, sums: SlotSums, population: Population
) -> npt.NDArray[np.float64]:
    """Sum over the blocks of each architecture, `(n,)`.

    Args:
        space: The space.
        sums: From `slot_sums`.
        population: `(n, d)`.
    """
    total = np.zeros(len(population))
    for block, slots in enumerate(sums):
        columns = space.columns_of(block)
        if not columns:
            total += slots[0]
            continue
        counts = [int(space.option_counts[column]) for column in columns]
        picked = tuple(population[:, column].astype(np.intp) for column in columns)
        total += slots[np.ravel_multi_index(picked, counts)]
    return total
