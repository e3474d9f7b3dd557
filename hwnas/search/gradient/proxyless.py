"""ProxylessNAS: one sampled path trains the weights, two sampled paths the architecture.

Cai et al., ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware, ICLR
2019, and the authors' released code. Every candidate of a block has its own weights. A weight step
trains one random path on a training batch. An architecture step takes a validation batch and draws
two candidates of every group of decisions from p = softmax(a) without replacement; p' is the
softmax over the two, one of them is active by p', and

    dL/da_i = sum_j dL/dg_j p'_j (delta_ij - p'_i),   dL/dg_j = <dL/dm, o_j>.

After the optimiser's step both parameters are shifted so that all other candidates keep their
probabilities. Expected cost is differentiable in p' and enters by the hardware loss.

Differs from the paper:
- The depth of a stage is a decision as well; its candidates are the stage's outputs after one,
  two, ... blocks, which exist without more work than the deeper of the two.
- Gates get their gradient with weights held constant, so that an architecture step keeps fewer
  tensors than a training step and never touches the weights' gradients.
- The hardware loss sees the cost expected over all candidates, and hands its gradient to p' of the
  two (the released code sees that of the two alone, which jumps from step to step).
- Where the active candidate is a skip, the gradient of the cost is kept; the released code drops
  it.
- The learning rate of the architecture follows from the length of the run, see
  `ARCHITECTURE_TRAVEL`; one schedule of the weights' learning rate covers warm-up and search.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import SpaceError
from hwnas.search.gradient.path_distribution import Pair, PathDistribution, group_decisions
from hwnas.search.gradient.strategy import GradientProblem, GradientStrategy, reading_state
from hwnas.spaces import SearchSpace
from hwnas.supernet.gated import (
    BlockGates,
    DepthGates,
    binary_gates,
    check_depth,
    gated_logits,
)
from hwnas.supernet.separate import SeparateSupernet
from hwnas.training.loop import DivergenceError, TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics, path_gradients, set_gradients
from hwnas.training.recipe import Batch

__all__ = ["Proxyless"]

Row = npt.NDArray[np.uint8]


class Proxyless(GradientStrategy):
    """Binary gates and the two-path update.

    Args:
        problem: What it works on; the validation split trains the architecture.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: A decision shapes several blocks in another way than by a stage's depth.
    """

    name = "proxyless"
    defaults = TrainingOptions(epochs=20)

    warmup_share: ClassVar[float] = 0.25
    """Share of the epochs in which only weights are trained, on uniform paths: 40 of 160 there."""
    weight_steps: ClassVar[int] = 1
    """Weight steps to one architecture step; 5 there, where an epoch has 4,800 steps."""
    ARCHITECTURE_TRAVEL: ClassVar[float] = 30.0
    """How far a parameter can go that every update moves the same way; 33 there."""
    ARCHITECTURE_MOST: ClassVar[float] = 0.3
    """Largest learning rate of the architecture: a few noisy steps must not decide a group."""

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        self.check_space()
        self._loop = TrainingLoop(problem.dataset, self.options, problem.generator, problem.device)
        self.supernet = SeparateSupernet(
            self.space,
            problem.generator,
            zero_residual_scale=self.options.zero_residual_scale,
        ).to(problem.device)
        self._optimiser = make_optimiser(list(self.supernet.parameters()), self.options)
        self.paths = PathDistribution(self.space, problem.rng)
        self._architecture_optimiser = torch.optim.Adam(
            self.paths.parameters or [torch.zeros(0, requires_grad=True)],
            lr=self.architecture_learning_rate(),
            betas=(0.0, 0.999),
        )
        self._x = torch.from_numpy(problem.dataset.x_val).to(problem.device)
        self._y = torch.from_numpy(problem.dataset.y_val).to(problem.device)

    def check_space(self) -> None:
        """Check that every group of decisions has outputs that can be mixed.

        Raises:
            SpaceError: The decision that has none, and what to use instead.
        """
        check_mixable(self.space)

    def architecture_learning_rate(self) -> float:
        """Adam's step, so that parameters can travel as far in a short run as in a long one.

        With the first moment left out, an update moves a parameter by about the learning rate. A
        candidate of k is in 2/k of the pairs. The published run has 115,000 updates of 1e-3 over 7
        candidates.
        """
        epochs = self.options.epochs - self.warmup_epochs
        updates = epochs * self.batches / self.architecture_interval()
        rate = self.ARCHITECTURE_TRAVEL / max(1.0, updates * self.movable_share())
        return min(rate, self.ARCHITECTURE_MOST)

    @property
    def batches(self) -> int:
        """Weight steps an epoch."""
        return len(self.problem.dataset.x_train) // self.options.batch_size

    def architecture_interval(self) -> float:
        """Weight steps to one architecture step, 1 or more."""
        return float(self.weight_steps)

    def movable_share(self) -> float:
        """Share of the updates that move a parameter: those in which its pair was drawn."""
        sizes = [len(parameter) for parameter in self.paths.parameters]
        return 2.0 / float(np.mean(sizes)) if sizes else 1.0

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split, architecture steps in between."""
        searches = epoch >= self.warmup_epochs
        interval = self.architecture_interval()
        found: list[Metrics] = []
        steps = 0

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            del batch
            nonlocal steps
            if searches and self.paths.groups and steps >= len(found) * interval:
                found.append(self._checked(self.architecture_step(), epoch))
            steps += 1
            rng = self.problem.rng
            draw = self.paths.sample if searches else self.paths.sample_uniformly
            return partial(self._weight_step, self.paths.row(draw(rng)))

        generator = self.problem.generator
        order = torch.randperm(len(self.problem.dataset.x_train), generator=generator)
        metrics = self._loop.epoch(begin_step, self._optimiser, order, epoch)
        for name in found[0] if found else ():
            metrics[name] = float(np.mean([row[name] for row in found]))
        return metrics | self._summary()

    def architecture_step(self) -> Metrics:
        """One two-path update of the architecture parameters on a validation batch."""
        rng = self.problem.rng
        pairs = self.paths.sample_pairs(rng)
        probabilities = self.paths.pair_probabilities(pairs)
        # The active one first.
        ordered = [
            pair if rng.random() < float(p[pair[0]].detach()) else pair[::-1]
            for pair, p in zip(pairs, probabilities, strict=True)
        ]
        images, labels = self.validation_batch(self.options.batch_size)
        logits = self.gated_logits(images, ordered, probabilities)
        task = functional.cross_entropy(
            logits, labels, label_smoothing=self.options.label_smoothing
        )
        loss = self.problem.hardware_loss(task, self._expected_cost(probabilities).to(task.device))
        gradients = torch.autograd.grad(loss, self.paths.parameters, allow_unused=True)
        self.update(gradients, pairs)
        return {"architecture_loss": float(loss.detach()), "validation_loss": float(task.detach())}

    def gated_logits(
        self, images: Tensor, pairs: list[Pair], probabilities: list[Tensor]
    ) -> Tensor:
        """Logits of the active path, `(n, classes)`, with gradients for the probabilities.

        Args:
            images: `(n, c, h, w)`.
            pairs: Per group the active candidate, and the other one.
            probabilities: Per group `(k,)`.
        """
        row = self.paths.row([active for active, _ in pairs])
        blocks: dict[int, BlockGates] = {}
        depths: list[DepthGates] = []
        for group, (active, other), p in zip(self.paths.groups, pairs, probabilities, strict=True):
            gates = binary_gates(p[[active, other]], 0)
            if group.block is None:
                depths.append(DepthGates(group.columns[0], other, gates))
            else:
                options = row.copy()
                options[list(group.columns)] = group.options(other)
                choice = tuple(int(options[c]) for c in self.space.columns_of(group.block))
                blocks[group.block] = BlockGates(choice, gates)
        return gated_logits(self.supernet, images, row, blocks, depths)

    def update(
        self, gradients: tuple[Tensor | None, ...], pairs: list[Pair] | None = None
    ) -> None:
        """One step of the optimiser and the rescaling.

        Args:
            gradients: Per group `(k,)`. A group that had no influence stays.
            pairs: Per group the two candidates that alone may change their probabilities; None
                if all may.
        """
        for parameter, gradient in zip(self.paths.parameters, gradients, strict=True):
            moved = gradient is not None and bool((gradient != 0).any())
            parameter.grad = gradient if moved else None
        before = self.paths.state()
        self._architecture_optimiser.step()
        if pairs is not None:
            self.paths.rescale(pairs, before)

    def validation_batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Images `(n, c, h, w)` and labels `(n,)`, distinct, as many as there are at most."""
        generator = self.problem.generator
        chosen = torch.randperm(len(self._x), generator=generator)[:size].to(self._x.device)
        return self._x[chosen], self._y[chosen]

    def derive(self) -> Row:
        """The most likely candidate of each group."""
        return self.paths.derive()

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probabilities of options; those of a candidate's parts are marginal."""
        return self.paths.preference()

    def state(self) -> dict[str, Any]:
        """Architecture parameters and both optimisers."""
        return {
            "architecture": self.paths.state(),
            "architecture_optimiser": self._architecture_optimiser.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        with reading_state(self.name):
            self.paths.restore(state["architecture"])
            self._architecture_optimiser.load_state_dict(state["architecture_optimiser"])
            self._optimiser.load_state_dict(state["optimiser"])

    # Private -----------------------------------------------------------------------------------

    def _weight_step(self, row: Row, batch: Batch) -> Metrics:
        """Gradients of one path; weights of all others have None."""

        def objective(index: int, logits: Tensor, teacher: Tensor | None) -> Tensor:
            del index, teacher
            return functional.cross_entropy(
                logits, batch.labels, label_smoothing=self.options.label_smoothing
            )

        gradients, losses = path_gradients(
            self.supernet,
            [self.space.architecture(row)],
            batch.images,
            objective,
            scale=self._loop.scale,
        )
        set_gradients(list(self.supernet.parameters()), gradients)
        return {"loss": losses[0]}

    def _expected_cost(self, probabilities: list[Tensor]) -> Tensor:
        """Expected over all candidates in value, over the pairs in gradient, `(m,)`."""
        expected = self.problem.expected.expected_of_slots
        of_pairs = expected(self.paths.slot_weights(probabilities))
        with torch.no_grad():
            of_all = expected(self.paths.slot_weights(self.paths.probabilities()))
        return of_all + (of_pairs - of_pairs.detach())

    def _summary(self) -> Metrics:
        """Expected costs, and how certain the groups are on the average."""
        with torch.no_grad():
            probabilities = self.paths.probabilities()
            costs = self.problem.expected.expected_of_slots(self.paths.slot_weights(probabilities))
        named = zip(self.problem.expected.metrics, costs.tolist(), strict=True)
        certainty = np.mean([float(p.max()) for p in probabilities]) if probabilities else 1.0
        return {f"expected_{name}": cost for name, cost in named} | {"certainty": float(certainty)}

    def _checked(self, metrics: Metrics, epoch: int) -> Metrics:
        if not all(map(math.isfinite, metrics.values())):
            raise DivergenceError(
                f"{self.name} diverged in epoch {epoch + 1} at an architecture step: {metrics}; "
                f"lower the learning rate of {self.options.learning_rate:g}"
            )
        return metrics


def check_mixable(space: SearchSpace) -> None:
    """Check that every group of decisions is one of candidates of a block or of depths.

    Raises:
        SpaceError: The decision that is neither, and what to use instead.
    """
    for group in group_decisions(space):
        if group.block is None:
            check_depth(space, group.columns[0])
        elif not space.inputs_of(group.block):
            raise SpaceError(
                f"proxyless on {space.name}: {group.name!r} declares the input, so its "
                "candidates cannot be mixed; use proxyless-rl, which needs no mixture"
            )
