"""AttentiveNAS: train those sub-nets that are the best, or the worst, for their cost.

Wang et al., AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling, CVPR 2021.
BigNAS with other random sub-nets: for each of them a bin of MACs is drawn, then `CANDIDATES`
architectures of that bin; the one with the smallest (best-up) or the largest (worst-up) loss on
the batch of the step is trained. Entries of the gradient are clipped at 1.

Differs from the paper: candidates are ranked by their loss alone, not by a predictor of accuracy.
Differs from the released code: the table behind the bins is drawn for the space at the begin of a
run, not read from a file; no dropout and no drop-connect, for the spaces declare none; learning
rate, warm-up, batch size and augmentation are this project's.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from hwnas.errors import RunError
from hwnas.spaces import Architecture
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.bignas import BigNas
from hwnas.training.recipes.sandwich import RANDOM_PATHS
from hwnas.training.two_level_sampler import TwoLevelSampler

__all__ = ["AttentiveNasBestUp", "AttentiveNasWorstUp"]

CANDIDATES = 3  # "BestUp-3 (loss)", the configuration of the release


class AttentiveNasBestUp(BigNas):
    """Largest, smallest, and `RANDOM_PATHS` times the best of `CANDIDATES` of equal cost."""

    name = "attentive-nas-best-up"
    defaults = replace(
        TrainingOptions(),
        learning_rate=0.1,
        weight_decay=1e-5,
        gradient_clip=math.inf,
        gradient_clip_value=1.0,
    )
    preference: ClassVar[float] = 1.0
    """The candidate with the smallest product of this and its loss is trained."""
    candidates: ClassVar[int] = CANDIDATES

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self._set_table(int(context.rng.integers(2**32)))

    def draw(self, batch: Batch) -> list[Architecture]:
        """The largest, the smallest, then the preferred ones."""
        rng = self.context.rng
        groups = [
            [
                self.space.architecture(row)
                for row in self._bins.draw(self._bins.draw_bin(rng), self.candidates, rng)
            ]
            for _ in range(RANDOM_PATHS)
        ]
        preferred = self.preferred(groups, batch)
        return [self.space.largest(), self.space.smallest(), *preferred]

    def preferred(self, groups: list[list[Architecture]], batch: Batch) -> list[Architecture]:
        """Of every group of candidates the one to train, the first of equal ones.

        Args:
            groups: Candidates of equal cost.
            batch: What they are compared on, normalised by its own statistics.
        """
        flat = [candidate for group in groups for candidate in group]
        executor = self.context.executor
        loss_of = partial(self._loss, batch=batch)
        if len(flat) == len(groups):
            return flat
        losses = iter(map(loss_of, flat) if executor is None else executor.map(loss_of, flat))
        return [
            group[int(np.argmin([self.preference * next(losses) for _ in group]))]
            for group in groups
        ]

    def state(self) -> dict[str, Any]:
        """The seed of the table."""
        return {"table_seed": self._table_seed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Draw the table of the broken run again.

        Raises:
            RunError: The state has no seed.
        """
        seed = state.get("table_seed")
        if not isinstance(seed, int) or seed < 0:
            raise RunError(f"the checkpoint of {self.name} has {seed!r} as seed of its table")
        self._set_table(seed)

    def _set_table(self, seed: int) -> None:
        self._table_seed = seed
        self._bins = TwoLevelSampler(self.space, np.random.default_rng(seed))

    @torch.no_grad()  # set for each thread, so it stands here
    def _loss(self, architecture: Architecture, batch: Batch) -> float:
        logits = self.supernet(batch.images, architecture)
        return self.task.cross_entropy(logits, batch.labels).item()


class AttentiveNasWorstUp(AttentiveNasBestUp):
    """Largest, smallest, and `RANDOM_PATHS` times the worst of `CANDIDATES` of equal cost."""

    name = "attentive-nas-worst-up"
    preference = -1.0
