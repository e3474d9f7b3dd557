"""PreNAS: preferred architectures are chosen before training, and only they are trained.

Wang et al., PreNAS: Preferred One-Shot Learning Towards Efficient Neural Architecture Search, ICML
2023. Gradients g are taken once, on the largest network with random weights w. The score of an
architecture is the sum of |w * g| over the weights that it takes. A draw fixes only how often each
option occurs; the larger options go to the blocks whose extra weights score higher by
sum |w * g| / (sum |w| * sum |g|). Of every cost interval the best architecture is kept, and the
supernet is trained on those alone: first a depth is drawn, then one of its architectures.

Few conflicting sub-nets make good weights for the preferred ones and useless ones for all others:
search among `preferred` (in the recipe's state), not in the whole space.

Differs from the paper: intervals of multiply-accumulate operations, not of parameters; kernels,
expansions and whatever else several blocks choose alike in place of heads and MLP ratios; blocks
are ranked once for each such choice, by what its largest option adds to its smallest one;
architectures are drawn with one common tendency to large or small options, so that the ends of the
cost axis are met too (each decision by itself stays uniform). Scores come from a supernet whose
residual branches do not start at zero, for there all their gradients are 0.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import RunError, SpaceError
from hwnas.spaces import Architecture, Population, SearchSpace
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.supernet import Supernet
from hwnas.training.cost_bins import CostBins, mac_bins
from hwnas.training.recipe import Batch, Recipe, TrainingContext
from hwnas.training.weight_saliency import (
    SlotSums,
    population_sums,
    slot_sums,
    weight_gradients,
)

__all__ = ["PreNas", "Scores", "place", "preferred_rows", "score_weights", "spread_rows"]

log = logging.getLogger(__name__)

DRAWS = 4000
DATA_FREE = True

_SCORED_IMAGES = 64


@dataclass(frozen=True, eq=False)
class Scores:
    """What one pass over the largest network says about all others.

    Args:
        slots: Per block `(slots,)` sum of |w * g|.
        roles: Decisions that several blocks take alike: columns, best place first.
    """

    slots: SlotSums
    roles: tuple[tuple[int, ...], ...]


class PreNas(Recipe):
    """Training of a few architectures that a score without training has chosen."""

    name = "prenas"

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self._bins = mac_bins(self.space)
        self.preferred: list[list[int]] = []

    def begin_epoch(self, epoch: int) -> bool:
        """Choose the preferred architectures before the first epoch."""
        del epoch
        if not self.preferred:
            generator = self.context.generator
            scored = ElasticSupernet(self.space, generator).to(self.context.device)
            images, labels = self._scored_images()
            rows = preferred_rows(
                self._bins, score_weights(scored, images, labels), self.context.rng
            )
            self.preferred = rows.tolist()
            log.info("%d preferred architectures of %d bins", len(rows), len(self._bins))
        return False

    def draw(self, batch: Batch) -> list[Architecture]:
        """One preferred architecture: its depths first, then one of those depths."""
        del batch
        rng = self.context.rng
        groups = _by_depth(self.space, self.preferred)
        rows = groups[rng.integers(len(groups))]
        return [self.space.architecture(rows[rng.integers(len(rows))])]

    def state(self) -> dict[str, Any]:
        """`preferred`: one row of option indices an architecture, the cheapest first."""
        return {"preferred": self.preferred}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the preferred architectures back.

        Raises:
            RunError: They are not architectures of the space.
        """
        try:
            self.preferred = self.space.checked(state["preferred"]).tolist()
        except (KeyError, TypeError, SpaceError) as error:
            raise RunError(
                f"the checkpoint's preferred architectures are damaged: {error}; delete it"
            ) from error

    def _scored_images(self) -> tuple[Tensor, Tensor | None]:
        generator, dataset = self.context.generator, self.context.dataset
        n = min(_SCORED_IMAGES, len(dataset.x_train))
        if DATA_FREE:
            images = torch.randn((n, *dataset.image_shape), generator=generator)
            return images.to(self.context.device), None
        picked = torch.randperm(len(dataset.x_train), generator=generator)[:n].numpy()
        images = torch.from_numpy(dataset.x_train[picked])
        labels = torch.from_numpy(dataset.y_train[picked])
        return images.to(self.context.device), labels.to(self.context.device)


def score_weights(supernet: Supernet, images: Tensor, labels: Tensor | None = None) -> Scores:
    """Scores from one backward pass of the largest network.

    Args:
        supernet: With random weights.
        images: `(n, c, h, w)`, standardised; Gaussian noise does.
        labels: `(n,)` for the loss to be cross-entropy; without them it is the sum of the logits.
    """

    def objective(logits: Tensor) -> Tensor:
        return logits.sum() if labels is None else functional.cross_entropy(logits, labels)

    gradients = weight_gradients(supernet, images, objective)
    weights = {name: p.detach() for name, p in supernet.shared_parameters().items()}
    sizes = {name: w.abs() for name, w in weights.items()}
    slopes = {name: g.abs() for name, g in gradients.items()}
    products = {name: sizes[name] * slopes[name] for name in weights}
    sums = [slot_sums(supernet, values) for values in (products, sizes, slopes)]
    space = supernet.space

    def priority(column: int) -> float:
        added, size, slope = (_added(space, slots, column) for slots in sums)
        return added / (size * slope) if size * slope > 0.0 else 0.0

    roles = tuple(
        tuple(sorted(columns, key=lambda column: (-priority(column), column)))
        for columns in _roles(space)
    )
    return Scores(sums[0], roles)


def preferred_rows(
    bins: CostBins, scores: Scores, rng: np.random.Generator, draws: int = DRAWS
) -> Population:
    """The best placed architecture of every bin that one was drawn for, `(n, d)`, cheapest first.

    Args:
        bins: Of the cost axis.
        scores: From `score_weights`.
        rng: Source of chance.
        draws: How many architectures are looked at.
    """
    space = bins.space
    rows = np.unique(place(space, scores.roles, spread_rows(space, draws, rng)), axis=0)
    values = population_sums(space, scores.slots, rows)
    found = bins.bin_of(rows)
    best = [
        members[np.argmax(values[members])]
        for members in (np.flatnonzero(found == index) for index in range(len(bins)))
        if len(members)
    ]
    kept: Population = rows[best]
    return kept


def spread_rows(space: SearchSpace, n: int, rng: np.random.Generator) -> Population:
    """Canonical rows from the whole cost axis, `(n, d)`; each decision by itself is uniform.

    Every row has a tendency u, uniform from 0 to 1, and option indices that are binomial with
    probability u; mixed over u, a binomial is uniform.
    """
    tendency = rng.random((n, 1))
    drawn = rng.binomial(space.option_counts.astype(np.int64) - 1, tendency)
    return space.canonicalise(space.checked(drawn))


def place(
    space: SearchSpace, roles: tuple[tuple[int, ...], ...], population: Population
) -> Population:
    """The same counts of every option, the larger options at the better places, `(n, d)`.

    Args:
        space: The space.
        roles: Columns of decisions taken alike, best place first.
        population: `(n, d)`, canonical. Places of absent blocks stay empty.
    """
    placed = population.copy()
    for role in roles:
        columns = list(role)
        raised = population.copy()
        raised[:, columns] = space.option_counts[columns] - 1
        active = space.canonicalise(raised)[:, columns] > 0
        options = np.where(active, population[:, columns].astype(np.int64), -1)
        falling = -np.sort(-options, axis=1)
        turn = np.maximum(np.cumsum(active, axis=1) - 1, 0)
        placed[:, columns] = np.where(active, np.take_along_axis(falling, turn, axis=1), 0)
    return placed


def _roles(space: SearchSpace) -> list[list[int]]:
    """Columns of decisions that several blocks read under one name with the same options."""
    column = {decision.name: index for index, decision in enumerate(space.decisions)}
    gates = set(_gates(space))
    found: dict[tuple[object, ...], list[int]] = {}
    for block in space.blocks:
        for argument, name in block.reads.items():
            options = space.decisions[column[name]].options
            members = found.setdefault((argument, options), [])
            if column[name] not in gates and column[name] not in members and len(options) > 1:
                members.append(column[name])
    return [members for members in found.values() if len(members) > 1]


def _added(space: SearchSpace, sums: SlotSums, column: int) -> float:
    """What the largest option of a decision adds to the smallest, all others at their largest."""
    rows = np.repeat(space.option_counts[None] - np.uint8(1), 2, axis=0)
    rows[1, column] = 0
    largest, reduced = population_sums(space, sums, rows)
    return float(largest - reduced)


def _gates(space: SearchSpace) -> list[int]:
    names = {block.present.decision for block in space.blocks if block.present is not None}
    return [index for index, decision in enumerate(space.decisions) if decision.name in names]


def _by_depth(space: SearchSpace, rows: list[list[int]]) -> list[list[list[int]]]:
    groups: dict[tuple[int, ...], list[list[int]]] = {}
    gates = _gates(space)
    for row in rows:
        groups.setdefault(tuple([row[column] for column in gates]), []).append(row)
    return list(groups.values())
