"""ROME: one path at a time, with the topology of cells drawn as well as their operations.

Wang et al., ROME: Robustifying Memory-Efficient NAS via Topology Disentanglement and Gradient
Accumulation, ICCV 2023, version 2. A node has parameters b over its edges, an edge has parameters
a over its operations. A draw takes two distinct edges of each node,

    top2(log softmax(b) + g),

which is drawing without replacement (Gumbel-Top2), and one operation of each of them by the
largest of `log softmax(a) + g`. Both are one-hot in value and have the gradient of a softmax at a
falling temperature, so only the operations of one network are computed, and every draw is of the
space. For every training batch K draws give the mean gradient of a and b on a validation batch,
with a K-th of the variance, and K fresh ones the sum of the weights' gradients on the training
batch. At the end a node keeps its two most likely edges, each with its most likely operation.

Differs from the paper:
- Expected cost joins the loss by the hardware loss. It is exact: the probability of a pair of
  edges has a closed form.
- The temperature falls linearly between the values of Dong and Yang, Searching for a Robust Neural
  Architecture in Four GPU Hours, CVPR 2019.
- The architecture's learning rate is that of `CellStrategy`. The weights' is the published 0.05:
  with the 0.3 of the other strategies the sum of 7 gradients diverged on `cells-digits`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import RunError
from hwnas.search.gradient.cell_distribution import pair_probabilities
from hwnas.search.gradient.cell_strategy import CELL_TRAINING, CellStrategy
from hwnas.search.gradient.relaxed_draws import gumbel_top_hot
from hwnas.search.gradient.strategy import GradientProblem
from hwnas.supernet.cell_supernet import Edge
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["Rome"]

Row = npt.NDArray[np.uint8]

INITIAL_DEVIATION = 1e-3  # of the edges' parameters, as of the operations'


class Rome(CellStrategy):
    """Gumbel-Top2 for edges, Gumbel-max for operations, accumulated gradients.

    Args:
        problem: What it works on; the validation split trains the architecture.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: The space is not made of cells whose nodes read two edges.
    """

    name = "rome"
    defaults = replace(CELL_TRAINING, learning_rate=0.05)
    with_none = False

    samples: ClassVar[int] = 7
    """Draws K for each step of the architecture and of the weights."""
    temperatures: ClassVar[tuple[float, float]] = (10.0, 0.1)
    """At the start and at the end."""

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        start = problem.rng.normal(0.0, INITIAL_DEVIATION, len(self.distribution.slots.edges))
        self.edge_parameters = torch.from_numpy(start).requires_grad_()
        self._architecture_optimiser.add_param_group({"params": [self.edge_parameters]})

    def draw(self, progress: float) -> dict[Edge, Tensor]:
        """One network: weights of 1 for one operation of two edges a node, differentiable.

        Args:
            progress: Share of all steps that were made.
        """
        first, last = self.temperatures
        temperature = first + (last - first) * min(progress, 1.0)
        generator = self.problem.generator
        slots = self.distribution.slots
        operations = gumbel_top_hot(self.distribution.parameters, 1, generator, temperature)
        found: dict[Edge, Tensor] = {}
        for key in slots.nodes:
            part = slots.edges_of(*key)
            chosen = gumbel_top_hot(self.edge_parameters[part], 2, generator, temperature)
            for edge, of_edge, of_operations in zip(
                slots.edges[part], chosen, operations[part], strict=True
            ):
                if of_edge > 0.0:
                    found[edge] = of_edge * of_operations
        return found

    def edge_probabilities(self) -> list[Tensor]:
        """Of each node's edges to be drawn first, `(n,)`, in the order of nodes."""
        slots = self.distribution.slots
        return [self.edge_parameters[slots.edges_of(*key)].softmax(0) for key in slots.nodes]

    def expected_cost(self, probabilities: Tensor) -> Tensor:
        """Expected costs of a draw, `(m,)`, differentiable.

        Args:
            probabilities: `(e, k)` of operations.
        """
        slots = self.distribution.slots
        pairs = {
            key: pair_probabilities(p, temperature=1.0)
            for key, p in zip(slots.nodes, self.edge_probabilities(), strict=True)
        }
        return self.problem.expected.expected_of_slots(slots.weights(probabilities, pairs))

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split, an architecture step before every weight step."""
        found: list[Metrics] = []

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            found.append(self.checked(self.architecture_step(batch.progress), epoch))
            return partial(self._weight_step, batch.progress)

        metrics = self._loop.epoch(begin_step, self._optimiser, self.order(), epoch)
        for name in found[0] if found else ():
            metrics[name] = float(np.mean([row[name] for row in found]))
        return metrics | self.summary()

    def architecture_step(self, progress: float) -> Metrics:
        """One step along the mean gradient of K draws on one validation batch."""
        gradients, metrics = self.architecture_gradients(progress, self.samples)
        for parameter, gradient in zip(self._free, gradients, strict=True):
            parameter.grad = gradient
        self._architecture_optimiser.step()
        return metrics

    def architecture_gradients(
        self, progress: float, samples: int
    ) -> tuple[tuple[Tensor, ...], Metrics]:
        """Mean gradients for operations `(e, k)` and edges `(e,)`, and mean losses.

        Args:
            progress: Share of all steps that were made.
            samples: Draws.
        """
        images, labels = self.validation_batch(self.options.batch_size)
        expected = self.expected_cost(self.distribution.probabilities())
        # One graph of the expected cost serves all draws: what they hand back to it is summed.
        cost = expected.detach().requires_grad_()
        cost_gradient = torch.zeros_like(cost)
        total = [torch.zeros_like(parameter) for parameter in self._free]
        losses, tasks = 0.0, 0.0
        for _ in range(samples):
            task = self._task_loss_of(self.draw(progress), images, labels)
            loss = self.problem.hardware_loss(task, cost.to(task.device))
            *of_task, of_cost = torch.autograd.grad(loss, [*self._free, cost], allow_unused=True)
            for entry, gradient in zip(total, of_task, strict=True):
                if gradient is not None:
                    entry += gradient / samples
            if of_cost is not None:
                cost_gradient += of_cost / samples
            losses += float(loss.detach()) / samples
            tasks += float(task.detach()) / samples
        of_costs = torch.autograd.grad(expected, self._free, cost_gradient, allow_unused=True)
        gradients = tuple(
            entry if gradient is None else entry + gradient
            for entry, gradient in zip(total, of_costs, strict=True)
        )
        return gradients, {"architecture_loss": losses, "validation_loss": tasks}

    def derive(self) -> Row:
        """The two most likely edges of each node, by their most likely operations."""
        slots = self.distribution.slots
        operations = self.distribution.parameters.detach().argmax(1).tolist()
        kept: dict[Edge, int] = {}
        for key in slots.nodes:
            part = slots.edges_of(*key)
            strengths = self.edge_parameters[part].tolist()
            for source in sorted(range(len(strengths)), key=lambda i: -strengths[i])[:2]:
                kept[Edge(*key, source)] = operations[part.start + source]
        return slots.row(kept)

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probabilities of pairs of edges, and of the operations of the likeliest pair."""
        with torch.no_grad():
            return self.distribution.slots.preference(
                self.distribution.probabilities(),
                torch.cat(self.edge_probabilities()),
                temperature=1.0,
            )

    def state(self) -> dict[str, Any]:
        """Parameters of operations and edges, and both optimisers."""
        return super().state() | {"edges": self.edge_parameters.detach().clone()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        super().restore(state)
        found = state.get("edges")
        if not isinstance(found, Tensor) or found.shape != self.edge_parameters.shape:
            raise RunError(
                f"state of {self.name} is damaged: edges are {found}; delete the checkpoint to "
                "start anew"
            )
        with torch.no_grad():
            self.edge_parameters.copy_(found)

    # Private -----------------------------------------------------------------------------------

    @property
    def _free(self) -> list[Tensor]:
        return [self.distribution.parameters, self.edge_parameters]

    def _task_loss_of(
        self, weights: Mapping[Edge, Tensor], images: Tensor, labels: Tensor
    ) -> Tensor:
        return functional.cross_entropy(
            self.cells(images, weights), labels, label_smoothing=self.options.label_smoothing
        )

    def _weight_step(self, progress: float, batch: Batch) -> Metrics:
        """Sum of the gradients of K draws; weights that none of them uses have None."""
        parameters = list(self.supernet.parameters())
        for parameter in parameters:
            parameter.grad = None
        losses = []
        for _ in range(self.samples):
            with torch.no_grad():
                weights = self.draw(progress)
            loss = self._task_loss_of(weights, batch.images, batch.labels)
            gradients = torch.autograd.grad(self._loop.scale(loss), parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    before = parameter.grad
                    parameter.grad = gradient if before is None else before.add_(gradient)
            losses.append(loss.item())
        return {"loss": float(np.mean(losses))}
