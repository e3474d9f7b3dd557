"""ShiftNAS: costs whose sub-nets are under-trained are drawn more often.

Zhang et al., ShiftNAS: Improving One-shot NAS via Probability Shift, ICCV 2023. The cost axis is
cut into bins. The norm of the validation gradient of a bin's sub-nets says how far they are from
trained, and bins are drawn in proportion to it. A recurrent generator writes an architecture of
the wanted cost C and learns from the loss of the task and from lambda * (cost - C)^2. Options are
nested, so a one-hot vector h of options is the mask m_i = sum over j >= i of h_j on what option i
adds to the one before it, and the task's gradient with respect to m_i is, to first order, the sum
of w * dL/dw over the weights that option i adds.

Differs from the paper: the distribution over bins is computed from the norms, with a uniform
share, once an epoch, where the paper learns it by finite differences of second order every 100
iterations; the gradient of a mask is read off the weights' gradients of the sub-net that ran, so
that a step costs one sub-net and not one supernet, and options above the chosen one count as
adding nothing; the generator learns the costs before training, which is here hundreds of steps and
not hundreds of thousands; an architecture that misses its bin is changed until it is in it; bins
are equal shares of the space's own range of operations, not 0.1 billion of them wide.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.costs.counted import count_costs
from hwnas.errors import RunError
from hwnas.spaces import Architecture
from hwnas.training.architecture_generator import (
    LEARNING_RATE,
    ArchitectureGenerator,
    CostMiss,
    OneHots,
    chosen_rows,
    fit_generator,
)
from hwnas.training.cost_bins import CostBins
from hwnas.training.importance import Numbers, importance, smoothed
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch, Recipe, TrainingContext
from hwnas.training.weight_saliency import slice_sum

__all__ = ["ShiftNas", "prefix_mask"]

log = logging.getLogger(__name__)

LAMBDA = 1.0  # costs are in widths of a bin
IMPORTANCE_SHARE = 0.8
FIT_STEPS = 150
UNIFORM_EPOCHS_SHARE = 0.1  # the paper: 50 of 500 epochs


class ShiftNas(Recipe):
    """Bins by the norms of validation gradients, architectures by a generator.

    Raises:
        SpaceError: All networks of the space have the same number of operations.
    """

    name = "shift-nas"

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        costs = count_costs(self.space, ("macs",))
        self._bins = CostBins(costs)
        self._miss = CostMiss(costs, self._bins)
        self._model = ArchitectureGenerator(self.space.option_counts.tolist(), context.generator)
        self._adam = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE)
        self._norms = np.full(len(self._bins), np.nan)
        self._drawn: tuple[OneHots, Tensor, bool] | None = None
        columns = [self.space.columns_of(block) for block in range(len(self.space.blocks))]
        self._readers = [
            [block for block, own in enumerate(columns) if column in own]
            for column in range(len(self.space.decisions))
        ]

    @property
    def bin_probabilities(self) -> Numbers:
        """How often each bin is drawn, `(k,)`."""
        return importance(self._norms, IMPORTANCE_SHARE)

    def begin_epoch(self, epoch: int) -> bool:
        """Teach the generator the costs before the first epoch."""
        if epoch == 0:
            chance = self.context.generator
            fit_generator(self._model, self._miss, self._bins, chance, FIT_STEPS)
        return False

    def draw(self, batch: Batch) -> list[Architecture]:
        """One architecture of a bin drawn by importance, kept for the generator's own step."""
        del batch
        index = int(self.context.rng.choice(len(self._bins), p=self.bin_probabilities))
        wanted = self._wanted(index)
        one_hots = self._model(self._miss.share(wanted), self.context.generator)
        path, is_kept = self._architecture(one_hots, index)
        self._drawn = one_hots, wanted, is_kept
        return [path]

    def step(self, paths: list[Architecture], batch: Batch) -> Metrics:
        """One step of the supernet's gradients, and one of the generator for every draw."""
        metrics = super().step(paths, batch)
        if self._drawn is not None:
            one_hots, wanted, is_kept = self._drawn
            self._drawn = None
            loss = LAMBDA * self._miss(one_hots, wanted).square().sum()
            if is_kept:
                loss = loss + self._task_loss(paths[0], one_hots)
            self._adam.zero_grad()
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
            if torch.isfinite(norm):  # half precision overflows now and then
                self._adam.step()
        return metrics

    def end_epoch(self, epoch: int) -> None:
        """Measure the norm of every bin's validation gradient."""
        if epoch + 1 < UNIFORM_EPOCHS_SHARE * self.options.epochs:
            return
        for index in range(len(self._bins)):
            self._norms[index] = smoothed(float(self._norms[index]), self._validation_norm(index))
        shares = ", ".join(f"{share:.2f}" for share in self.bin_probabilities)
        log.debug("epoch %d: bins are drawn with probabilities %s", epoch + 1, shares)

    def state(self) -> dict[str, Any]:
        """The generator, its optimiser, and the norms of the bins."""
        return {
            "generator": self._model.state_dict(),
            "adam": self._adam.state_dict(),
            "norms": torch.from_numpy(self._norms.copy()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take generator, optimiser and norms back.

        Raises:
            RunError: They are of another space.
        """
        try:
            norms = state["norms"].to(torch.float64).numpy().copy()
            self._model.load_state_dict(state["generator"])
            self._adam.load_state_dict(state["adam"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise RunError(f"the checkpoint's generator is damaged: {error}") from error
        if norms.shape != self._norms.shape:
            raise RunError(
                f"the checkpoint has norms of {norms.size} bins, not {self._norms.size}; delete it"
            )
        self._norms = norms

    def _wanted(self, index: int) -> Tensor:
        low, high = self._bins.edges[index], self._bins.edges[index + 1]
        return torch.tensor([self.context.rng.uniform(low, high)], dtype=torch.float32)

    def _architecture(self, one_hots: OneHots, index: int) -> tuple[Architecture, bool]:
        """What was drawn, moved into its bin, and whether it had not to be moved."""
        row = self.space.canonicalise(chosen_rows(one_hots))[0]
        moved = self._bins.nudged(row, index, self.context.rng)
        return self.space.architecture(moved), bool((moved == row).all())

    def _task_loss(self, path: Architecture, one_hots: OneHots) -> Tensor:
        """Sum over the decisions of mask times what each option adds to the task's loss.

        Its value means nothing; its gradient is that of the task's loss, to first order.
        """
        scale = float(self.context.scale(torch.ones((), device=self.context.device)))
        products = {
            name: parameter.detach() * parameter.grad
            for name, parameter in self.supernet.shared_parameters().items()
            if parameter.grad is not None
        }
        parts = []
        for column, one_hot in enumerate(one_hots):
            chosen = path.indices[column]
            sums = [self._taken(products, path, column, i) / scale for i in range(chosen)]
            if chosen:
                sums.append(self._taken(products, path, column, chosen) / scale)
                added = torch.tensor([0.0, *np.diff(sums)], dtype=one_hot.dtype)
                parts.append((prefix_mask(one_hot[0])[: chosen + 1] * added).sum())
        return torch.stack(parts).sum() if parts else torch.zeros(())

    def _taken(
        self, products: Mapping[str, Tensor], path: Architecture, column: int, option: int
    ) -> float:
        """Sum over the weights of the blocks that read a decision, at one of its options."""
        indices = list(path.indices)
        indices[column] = option
        return sum(
            slice_sum(
                self.supernet,
                products,
                block,
                tuple([indices[own] for own in self.space.columns_of(block)]),
            )
            for block in self._readers[column]
        )

    def _validation_norm(self, index: int) -> float:
        """Norm of the gradient of a bin's architecture on one batch of validation images."""
        context = self.context
        dataset = context.dataset
        size = min(self.options.batch_size, len(dataset.x_val))
        picked = torch.randperm(len(dataset.x_val), generator=context.generator)[:size].numpy()
        images = torch.from_numpy(dataset.x_val[picked]).to(context.device)
        labels = torch.from_numpy(dataset.y_val[picked]).to(context.device)
        with torch.no_grad():
            share = self._miss.share(self._wanted(index))
            path, _ = self._architecture(self._model(share, context.generator), index)
        loss = functional.cross_entropy(self.supernet(images, path), labels)
        gradients = torch.autograd.grad(loss, list(self.supernet.parameters()), allow_unused=True)
        norms = [torch.linalg.vector_norm(g) for g in gradients if g is not None]
        return float(torch.linalg.vector_norm(torch.stack(norms)))


def prefix_mask(one_hot: Tensor) -> Tensor:
    """Mask of nested options, `(k,)`: 1 up to the chosen one, 0 above it.

    The cumulative sum of the reversed vector, reversed: `[0, 1, 0]` becomes `[1, 1, 0]`.

    Args:
        one_hot: `(k,)`.
    """
    return one_hot.flip(0).cumsum(0).flip(0)
