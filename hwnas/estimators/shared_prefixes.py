"""Outputs of many sub-nets of a supernet, computing once what neighbours have in common.

Networks of a space differ late as often as early. Visited in the order of their rows, each one
shares its first blocks with the one before it, and those blocks, under the same statistics of
batch norms, give the same results. A block runs again only if its own choice is another one, or
what it reads is. Every number is that of `SupernetEstimator`, to the last bit.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hwnas.datasets.image_size import fit_images
from hwnas.lowering.torch_module import Normalise
from hwnas.spaces import Architecture, Population
from hwnas.supernet.calibration import CALIBRATION_BATCH, average_statistics
from hwnas.supernet.supernet import EVALUATION_BATCH, Choice, Supernet

__all__ = ["outputs_by_prefix"]


class _Result(NamedTuple):
    """What one block made of all batches."""

    choice: Choice
    calibration: list[Tensor]
    images: list[Tensor]


@torch.no_grad()
def outputs_by_prefix(
    supernet: Supernet, population: Population, calibration: Tensor, images: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Index of a row and the outputs `(n, ...)` of its network, in the order of least work.

    The results of all blocks for all images are held in memory.

    Args:
        supernet: The trained supernet.
        population: Canonical rows, `(k, d)`.
        calibration: Training images for statistics of batch norms, `(m, c, h, w)`.
        images: `(n, c, h, w)`.
    """
    space = supernet.space
    columns = [space.columns_of(block) for block in range(len(space.blocks))]
    first_use = list(dict.fromkeys(column for found in columns for column in found))
    begin = torch.split(calibration, CALIBRATION_BATCH), torch.split(images, EVALUATION_BATCH)
    known: list[_Result] = []
    for index in np.lexsort(population[:, first_use[::-1]].T):
        row = population[index].tolist()
        changed: set[int] = set()
        for block, found in enumerate(columns):
            choice = tuple(row[column] for column in found)
            sources = supernet.sources_of(block)
            same = block < len(known) and known[block].choice == choice
            if same and not changed.intersection(sources):
                continue
            changed.add(block)
            if sources:
                taken = [known[source].calibration for source in sources]
                shown = [known[source].images for source in sources]
            else:
                side = supernet.image_side(Architecture(space.name, tuple(row)))
                taken, shown = ([[fit_images(b, side) for b in part]] for part in begin)
            result = _run(supernet, block, choice, taken, shown)
            known[block : block + 1] = [result]
        yield int(index), torch.cat(known[-1].images)


def _run(
    supernet: Supernet,
    block: int,
    choice: Choice,
    calibration: list[list[Tensor]],
    images: list[list[Tensor]],
) -> _Result:
    """One block on all batches: calibrated, then under its own statistics."""
    plan = supernet.block_plan(block, choice)
    if plan.is_empty:
        return _Result(choice, calibration[0], images[0])
    weights = supernet.block_weights(block, choice)
    batches = list(zip(*calibration, strict=True))
    made: list[Tensor] = []

    def run(positions: Tensor, record: Normalise) -> None:
        batch = batches[int(positions[0]) // CALIBRATION_BATCH]
        made.append(plan(batch, weights, normalise=record)[0])

    positions = torch.arange(sum(len(batch[0]) for batch in batches))
    weights |= average_statistics(run, positions)
    shown = [plan(batch, weights)[0] for batch in zip(*images, strict=True)]
    return _Result(choice, made, shown)
