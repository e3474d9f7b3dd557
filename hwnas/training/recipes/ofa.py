"""Once-for-All: progressive shrinking, kernel transformations, sorted channels.

Cai et al., Once-for-All: Train One Network and Specialize It for Efficient Deployment, ICLR 2020.
First the largest network is trained by itself. Then kernels become elastic, then depth, then
width, the last two in two phases each; every phase begins with a new optimiser and has its own
learning rate. Sub-nets are drawn uniformly and learn from the labels and from the largest network
as it was after the first phase, whose batch norms use the statistics of the batch. Smaller kernels
are learned functions of larger ones, and channels are sorted when widths become elastic.

The lengths, learning rates and sub-nets a step of the phases stand to each other as in the
released scripts, within the epochs and under the learning rate that the options give.

Differs from the paper: what else a space decides (squeeze-and-excitation, image side) is drawn
uniformly in all phases but the first; phases that would allow the same sub-nets are one; no
dropout, for the spaces declare none.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import RunError, SpaceError
from hwnas.lowering.torch_module import TorchPlan
from hwnas.spaces import Architecture, SearchSpace
from hwnas.supernet.channel_sorting import sort_channels
from hwnas.supernet.kernel_transform import KernelTransformSupernet
from hwnas.supernet.shrinkage import UNLIMITED, Shrinkage, option_shrinkage, options_within
from hwnas.training.options import TrainingOptions, learning_rate_at
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch, Recipe, TrainingContext

__all__ = ["Ofa", "Phase", "phases_of"]

log = logging.getLogger(__name__)

DISTILLATION_WEIGHT = 1.0  # of the teacher's predictions beside the labels; released scripts


@dataclass(frozen=True)
class Phase:
    """One stage of progressive shrinking.

    Args:
        name: For the log.
        limits: How far sub-nets may be smaller than the largest.
        epochs: Passes over the training split.
        paths: Sub-nets a step.
        rate: Peak learning rate, as a share of that of the options.
        options: Option indices that sub-nets are drawn from, for every decision.
    """

    name: str
    limits: Shrinkage
    epochs: int
    paths: int
    rate: float
    options: tuple[tuple[int, ...], ...] = ()


# Epochs with their warm-up and learning rates for 64 images, from the released scripts; that of
# the largest network is 2.6 for 2048 images.
_FULL_RATE = 2.6 / 2048 * 64
PUBLISHED = (
    Phase("full", Shrinkage(), 180, 1, 1.0),
    Phase("kernel", Shrinkage(UNLIMITED), 125, 1, 3e-2 / _FULL_RATE),
    Phase("depth 1", Shrinkage(UNLIMITED, 1), 25, 2, 2.5e-3 / _FULL_RATE),
    Phase("depth 2", Shrinkage(UNLIMITED, UNLIMITED), 125, 2, 7.5e-3 / _FULL_RATE),
    Phase("expand 1", Shrinkage(UNLIMITED, UNLIMITED, 1), 25, 4, 2.5e-3 / _FULL_RATE),
    Phase("expand 2", Shrinkage(UNLIMITED, UNLIMITED, UNLIMITED), 125, 4, 7.5e-3 / _FULL_RATE),
)


class Ofa(Recipe):
    """Progressive shrinking.

    Raises:
        SpaceError: The space has neither elastic kernels nor depths nor widths, or one epoch is to
            hold all phases.
    """

    name = "ofa"
    defaults = replace(TrainingOptions(), epochs=20)

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self.phases = phases_of(self.space, self.options.epochs)
        self._starts = [0, *accumulate(phase.epochs for phase in self.phases)][:-1]
        self._plan = TorchPlan(self.space.network(self.space.largest()))
        self._teacher: dict[str, Tensor] = {}
        self._predicted: Tensor | None = None

    def make_supernet(self) -> KernelTransformSupernet:
        """An elastic supernet with kernel transformations."""
        return KernelTransformSupernet(
            self.space,
            self.context.generator,
            zero_residual_scale=self.options.zero_residual_scale,
        )

    def phase_at(self, epoch: int) -> Phase:
        """The phase that an epoch is in."""
        return self.phases[int(np.searchsorted(self._starts, epoch, side="right")) - 1]

    def begin_epoch(self, epoch: int) -> bool:
        """Take the teacher after the first phase; sort channels before widths become elastic."""
        if epoch == 0 or epoch not in self._starts:
            return False
        before, phase = self.phase_at(epoch - 1), self.phase_at(epoch)
        if not self._teacher:
            self._take_teacher()
        if phase.limits.channels > before.limits.channels:
            count = sort_channels(self.supernet, before.options)
            log.info("sorted %d groups of channels before phase %r", count, phase.name)
        return True

    def learning_rate(self, progress: float) -> float:
        """The options' schedule anew in every phase, scaled by the rate of the phase."""
        position = progress * self.options.epochs + 1e-9  # progress is a rounded quotient
        phase = self.phase_at(int(position))
        start = self._starts[self.phases.index(phase)]
        return phase.rate * learning_rate_at(self.options, (position - start) / phase.epochs)

    def draw(self, batch: Batch) -> list[Architecture]:
        """Uniform sub-nets of the options that the phase allows."""
        phase = self.phase_at(batch.epoch)
        rng = self.context.rng
        rows = [[rng.choice(options) for options in phase.options] for _ in range(phase.paths)]
        return [self.space.architecture(np.array(row, dtype=np.uint8)) for row in rows]

    def step(self, paths: list[Architecture], batch: Batch) -> Metrics:
        """As usual, after the teacher has looked at the batch."""
        self._predicted = None
        if self._teacher:
            with torch.no_grad():
                logits = self._plan((batch.images,), self._teacher, training=True)[0]
            self._predicted = logits.softmax(1)
        return super().step(paths, batch)

    def objective(
        self, index: int, logits: Tensor, teacher: Tensor | None, batch: Batch
    ) -> Tensor:
        """Labels, and the predictions of the largest network once it is trained."""
        loss = super().objective(index, logits, teacher, batch)
        if self._predicted is None:
            return loss
        return loss + DISTILLATION_WEIGHT * functional.cross_entropy(logits, self._predicted)

    def state(self) -> dict[str, Any]:
        """Weights of the teacher, once there is one."""
        return {"teacher": self._teacher}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the teacher back."""
        found = state.get("teacher", {})
        wanted = self._trained_names()
        if not isinstance(found, dict) or set(found) not in (set(), wanted):
            raise RunError("the checkpoint is damaged: its teacher is another network; delete it")
        self._teacher = {name: value.to(self.context.device) for name, value in found.items()}

    def _take_teacher(self) -> None:
        weights = self.supernet.weights(self.space.largest())
        self._teacher = {
            name: torch.from_numpy(weights[name]).to(self.context.device)
            for name in sorted(self._trained_names())
        }

    def _trained_names(self) -> set[str]:
        return set(self._plan.weight_shapes) - self._plan.statistics


def phases_of(space: SearchSpace, epochs: int) -> tuple[Phase, ...]:
    """Progressive shrinking of a space within a number of epochs.

    With fewer epochs than phases the shortest are left out; never the first and the last.

    Args:
        space: The space.
        epochs: Of the whole training.

    Raises:
        SpaceError: Nothing can shrink, or there are fewer than two epochs.
    """
    shrinkage = option_shrinkage(space)
    made = [replace(p, options=options_within(shrinkage, p.limits)) for p in PUBLISHED]
    distinct: list[Phase] = []
    for phase in made:
        if not distinct or distinct[-1].options != phase.options:
            distinct.append(phase)
        elif distinct[-1].epochs < phase.epochs:
            distinct[-1] = phase
    if not any(step for options in shrinkage for option in options for step in option):
        raise SpaceError(
            f"recipe 'ofa' shrinks kernels, depths or widths, and {space.name} decides on none of "
            "them; take another recipe, such as 'sandwich'"
        )
    if epochs < 2:
        raise SpaceError(
            f"recipe 'ofa' trains the largest network first and the others after it; {epochs} "
            f"epoch is too few, give at least {len(distinct)} for {space.name}"
        )
    if epochs < len(distinct):
        between = sorted(distinct[1:-1], key=lambda phase: -phase.epochs)[: epochs - 2]
        left = [p for p in distinct if p in (distinct[0], *between, distinct[-1])]
        log.warning(
            "%d epochs are too few for all %d phases of recipe 'ofa' on %s: left are %s",
            epochs,
            len(distinct),
            space.name,
            ", ".join(phase.name for phase in left),
        )
        distinct = left
    lengths = _divided(epochs, [phase.epochs for phase in distinct])
    return tuple(
        replace(phase, epochs=length) for phase, length in zip(distinct, lengths, strict=True)
    )


def _divided(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of at least 1, the rest by largest remainder."""
    rest = total - len(weights)
    quotas = [max(total * weight / sum(weights) - 1.0, 0.0) for weight in weights]
    scale = rest / sum(quotas) if rest else 0.0
    exact = [quota * scale for quota in quotas]
    shares = [int(value) for value in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: shares[i] - exact[i])
    for index in by_remainder[: rest - sum(shares)]:
        shares[index] += 1
    return [share + 1 for share in shares]
