"""DARTS-PT: an operation is as strong as its absence hurts.

Wang et al., Rethinking Architecture Selection in Differentiable NAS, ICLR 2021, and the authors'
released code. After a DARTS search, edge by edge in random order: every operation of the edge is
masked in turn, the mixture is evaluated on validation images, and the operation whose absence
hurts most is the edge's. Then nodes lose edges, each time the one whose absence hurts least, until
two are left. The weights are fine-tuned in between.

Cost joins by the hardware loss H. With L_o the loss without operation o, E the expected cost, E_o
that if the edge keeps o alone, and L the mean of the L_o, an edge keeps the largest

    H(L_o, E) - H(L, E_o),

which for an additive H is the harm of losing o less what keeping it costs. A node loses the edge
with the least H(loss without it, expected cost without it).

Differs from the paper:
- It has no cost.
- What is compared is the cross-entropy: on a few hundred validation images accuracies are often
  equal. `criterion` has both.
- Selection takes the last `SELECTION_SHARE` of the epochs, and the fine-tuning between two
  decisions is what of it falls to each; there it is 5 epochs.
- At most `EVALUATION_IMAGES` are looked at for one decision.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.search.gradient.cell_distribution import pair_probabilities
from hwnas.search.gradient.darts import Darts
from hwnas.search.gradient.strategy import GradientProblem, reading_state
from hwnas.supernet.supernet import EVALUATION_BATCH
from hwnas.training.options import learning_rate_at
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["DartsPt"]

Row = npt.NDArray[np.uint8]

UNDECIDED = -1


class DartsPt(Darts):
    """A first-order DARTS search, then selection by perturbation.

    Args:
        problem: What it works on.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: The space is not made of cells whose nodes read two edges.
    """

    name = "darts-pt"

    SELECTION_SHARE: ClassVar[float] = 0.4
    """Share of the epochs, at the end, in which operations and edges are selected."""
    FINE_TUNING_RATE: ClassVar[float] = 0.1
    """Learning rate there as a share of the search's; Wang et al.: 0.0025 after 0.025."""
    EVALUATION_IMAGES: ClassVar[int] = 512
    criterion: ClassVar[Literal["loss", "error"]] = "loss"

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        edges, operations = len(self.distribution.slots.edges), self.distribution.slots.operations
        self._decided = torch.full((edges,), UNDECIDED)
        self._scores = torch.zeros(edges, operations, dtype=torch.float64)
        self._is_there = torch.ones(edges, dtype=torch.bool)
        self._evaluations = 0

    def search_epochs(self) -> int:
        """Epochs of the DARTS search; with a single epoch there is none."""
        epochs = self.options.epochs
        return epochs - max(1, round(self.SELECTION_SHARE * epochs))

    @property
    def decisions(self) -> int:
        """Number of selections: of an operation an edge, and of the edges that go."""
        slots = self.distribution.slots
        return len(slots.edges) + sum(node - 2 for _, node in slots.nodes)

    @property
    def decided(self) -> int:
        """Number of selections made."""
        gone = int((~self._is_there).sum())
        return int((self._decided != UNDECIDED).sum()) + gone

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split: of the search, or with selections in between."""
        searched = self.search_epochs()
        planned = self.options.epochs
        if epoch < searched:

            def rate_at(progress: float) -> float:
                return learning_rate_at(self.options, progress * planned / searched)

            return self.search_epoch(epoch, rate_at) | self.summary()

        fine_tuning = replace(
            self.options,
            learning_rate=self.FINE_TUNING_RATE * self.options.learning_rate,
            warmup_share=0.0,
        )

        def fine_rate_at(progress: float) -> float:
            return learning_rate_at(
                fine_tuning, (progress * planned - searched) / (planned - searched)
            )

        batches = len(self.problem.dataset.x_train) // self.options.batch_size
        steps = (planned - searched) * batches
        position = (epoch - searched) * batches
        before = self._evaluations

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            del batch
            nonlocal position
            position += 1
            due = min(self.decisions, math.ceil(position * self.decisions / steps))
            while self.decided < due:
                self.select()
            return partial(self.weight_step, self.mixture())

        metrics = self._loop.epoch(
            begin_step, self._optimiser, self.order(), epoch, rate_at=fine_rate_at
        )
        metrics["evaluations"] = float(self._evaluations - before)
        metrics["decided"] = float(self.decided)
        return metrics | self.summary()

    def mixture(self) -> Tensor:
        """Weights of the operations, `(e, k + 1)`: 1 for the decided one, 0 on edges that went."""
        with torch.no_grad():
            found = self.distribution.probabilities()
            decided = self._decided != UNDECIDED
            one_hot = functional.one_hot(self._decided.clamp(min=0), found.shape[1]).to(found)
            found = torch.where(decided[:, None], one_hot, found)
            return found * self._is_there[:, None]

    def select(self) -> None:
        """Decide a random edge; once all are decided, remove one of a random node.

        Does nothing once every node has two edges.
        """
        rng = self.problem.rng
        undecided = torch.nonzero(self._decided == UNDECIDED).flatten().tolist()
        if undecided:
            self.select_operation(undecided[int(rng.integers(len(undecided)))])
            return
        slots = self.distribution.slots
        wide = [key for key in slots.nodes if int(self._is_there[slots.edges_of(*key)].sum()) > 2]
        if wide:
            self.remove_edge(*wide[int(rng.integers(len(wide)))])

    def select_operation(self, edge: int) -> int:
        """Give an edge the operation whose absence hurts most, and return its index.

        Args:
            edge: Index in the distribution's edges.
        """
        now = self.mixture()
        operations = range(self.distribution.slots.operations)
        without = []
        for operation in operations:
            masked = now.clone()
            masked[edge, operation] = 0.0
            without.append(masked)
        losses = self.evaluate(without)
        mean = torch.stack(losses).mean()
        scores = []
        for operation, loss in zip(operations, losses, strict=True):
            alone = now.clone()
            alone[edge] = 0.0
            alone[edge, operation] = 1.0
            score = self.with_cost(loss, now) - self.with_cost(mean, alone)
            scores.append(float(score))
        self._scores[edge] = torch.tensor(scores, dtype=torch.float64)
        self._decided[edge] = chosen = int(np.argmax(scores))
        return chosen

    def remove_edge(self, owner: str, node: int) -> int:
        """Remove the edge of a node whose absence hurts least, and return its index.

        Args:
            owner: Of the node.
            node: Its number.
        """
        part = self.distribution.slots.edges_of(owner, node)
        present = [i for i in range(part.start, part.stop) if self._is_there[i]]
        without = []
        for edge in present:
            masked = self.mixture()
            masked[edge] = 0.0
            without.append(masked)
        losses = self.evaluate(without)
        scores = [
            float(self.with_cost(loss, weights))
            for loss, weights in zip(losses, without, strict=True)
        ]
        gone = present[int(np.argmin(scores))]
        self._is_there[gone] = False
        return gone

    def evaluate(self, mixtures: Sequence[Tensor]) -> list[Tensor]:
        """Loss, or error, of each mixture on the same validation images, by batch statistics.

        Args:
            mixtures: `(e, k + 1)` each.
        """
        images, labels = self.validation_batch(self.EVALUATION_IMAGES)

        def run(weights: Tensor) -> Tensor:
            edge_weights = self.distribution.edge_weights(weights.to(images.device, images.dtype))
            with torch.no_grad():
                parts = [
                    self.cells(x, edge_weights) for x in torch.split(images, EVALUATION_BATCH)
                ]
                logits = torch.cat(parts)
                if self.criterion == "error":
                    return (logits.argmax(1) != labels).float().mean()
                return functional.cross_entropy(logits, labels)

        self._evaluations += len(mixtures)
        executor = self.problem.executor
        return list(map(run, mixtures) if executor is None else executor.map(run, mixtures))

    def expected_cost(self, probabilities: Tensor) -> Tensor:
        """Expected costs `(m,)`; once selection began, edges that are there are all alike."""
        if not self._selects:
            return super().expected_cost(probabilities)
        slots = self.distribution.slots
        strengths = (probabilities.sum(1) > 0).to(torch.float64)
        pairs = {key: pair_probabilities(strengths[slots.edges_of(*key)]) for key in slots.nodes}
        weights = slots.weights(self.distribution.operations(probabilities), pairs)
        return self.problem.expected.expected_of_slots(weights)

    def summary(self) -> Metrics:
        """Expected costs of the mixture, and the mean share of the strongest operations."""
        if not self._selects:
            return super().summary()
        mixture = self.mixture()
        costs = self.expected_cost(mixture).tolist()
        named = zip(self.problem.expected.metrics, costs, strict=True)
        certainty = float(self.distribution.operations(mixture)[self._is_there].amax(1).mean())
        return {f"expected_{name}": cost for name, cost in named} | {"certainty": certainty}

    def derive(self) -> Row:
        """What is decided, and the rest as in DARTS."""
        strengths, operations = self._strengths(), self.mixture().argmax(1).tolist()
        with torch.no_grad():
            searched = self.distribution.operations(self.distribution.probabilities()).argmax(1)
        slots = self.distribution.slots
        kept = {}
        for key in slots.nodes:
            part = slots.edges_of(*key)
            order = sorted(range(part.start, part.stop), key=lambda i: -float(strengths[i]))
            for index in order[:2]:
                is_decided = int(self._decided[index]) != UNDECIDED
                kept[slots.edges[index]] = (
                    operations[index] if is_decided else int(searched[index])
                )
        return slots.row(kept)

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Scores of the operations of decided edges, log-probabilities of the others."""
        with torch.no_grad():
            searched = self.distribution.operations(self.distribution.probabilities())
        measured = (self._scores - self._scores.amax(1, keepdim=True)).exp()
        decided = (self._decided != UNDECIDED)[:, None]
        operations = torch.where(decided, measured, searched)
        return self.distribution.slots.preference(operations, self._strengths())

    def state(self) -> dict[str, Any]:
        """That of DARTS, and what is decided."""
        return super().state() | {
            "decided": self._decided.clone(),
            "scores": self._scores.clone(),
            "is_there": self._is_there.clone(),
            "evaluations": self._evaluations,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        super().restore(state)
        with reading_state(self.name):
            self._decided.copy_(state["decided"])
            self._scores.copy_(state["scores"])
            self._is_there.copy_(state["is_there"])
            self._evaluations = int(state["evaluations"])

    # Private -----------------------------------------------------------------------------------

    @property
    def _selects(self) -> bool:
        return self._evaluations > 0

    def _strengths(self) -> Tensor:
        """Of the edges in the search, `(e,)`; 0 for those that went."""
        with torch.no_grad():
            found = self.distribution.strengths(self.distribution.probabilities())
        return found * self._is_there
