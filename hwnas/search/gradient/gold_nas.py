"""GOLD-NAS: one level, all operations at first, and gradual pruning under a growing penalty.

Bi et al., GOLD-NAS: Gradual, One-Level, Differentiable, 2020, and a public port. Every operation o
of every edge has a parameter a and the factor `s_o = sigmoid(a)`, 1/2 at the start. Weights and
parameters descend together on the training split along

    CE + lambda * sum_nodes sum_o ln(1 + n s_o / S) (c + mu r_o),   S = sum of s over the node,

with n operations alive at the node and r_o the relative cost of o. After each epoch operations
with `s_o / S` of at most 0.01 are pruned, and after those the smallest, up to 4 in all, while they
are at most 0.05. A node's last operation has `s_o / S = 1` and stays. If at least 4 were pruned,
lambda is halved and its increment starts anew; else the increment doubles and is added to lambda.
A network that three epochs without pruning have trained is one of a front of ever cheaper ones.

Pruning ends when the budgets are met. From then on the weights are trained without the factors.

Differs from the paper:
- r_o is not a share of the FLOPs but what the target saves without o, by the compiled costs,
  divided by its mean over all operations. With several budgets it is their mean.
- The increment of lambda starts where as many steps as an epoch of the paper has would bring it.
- The published end, 240 MFLOPs, is the budget. Without one, pruning ends after a share of the
  epochs. With one that is not met by then, the smallest operations are pruned until it is.
- The factors are dropped in the search, not only in a training from scratch after it.
- No auxiliary classifier; learning rate, batches and augmentation of the weights are this
  project's.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.costs.compiled import CompiledCosts
from hwnas.errors import SpaceError
from hwnas.search.gradient.cell_strategy import CELL_TRAINING
from hwnas.search.gradient.strategy import GradientProblem, GradientStrategy, reading_state
from hwnas.spaces.decisions import Option
from hwnas.supernet.cell_supernet import Edge, MixedCells
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.loop import TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch

__all__ = ["GoldNas", "relative_costs"]

Row = npt.NDArray[np.uint8]

PUBLISHED_STEPS = 520  # an epoch: 50,000 images in batches of 96


class GoldNas(GradientStrategy):
    """Gradual pruning.

    Args:
        problem: What it works on; the validation split is not used.

    Raises:
        DataError: A batch is larger than the training split.
        SpaceError: The space is not made of cells whose edges keep any subset of operations.

    Attributes:
        parameters: `(e, k)`, a of every operation.
        alive: `(e, k)` which ones are not pruned.
        weight: lambda.
        increment: What is added to lambda next, doubled.
        front: Rows of the networks that plateaus have trained.
    """

    name = "gold-nas"
    defaults: ClassVar[TrainingOptions] = replace(CELL_TRAINING, epochs=30, learning_rate=0.1)

    first_increment: ClassVar[float] = 1e-5
    """Of lambda, for `PUBLISHED_STEPS` an epoch."""
    growth: ClassVar[float] = 2.0
    """Of the increment; lambda falls by as much."""
    uniform_cost: ClassVar[float] = 1.0
    """c, which every operation costs alike."""
    measured_cost: ClassVar[float] = 1.0
    """mu, the weight of the relative cost."""
    small: ClassVar[float] = 0.01
    """Share of its node up to which an operation is pruned."""
    smallish: ClassVar[float] = 0.05
    """Share up to which the smallest are pruned."""
    pruned_at_once: ClassVar[int] = 4
    """How many of the smallest."""
    plateau: ClassVar[int] = 3
    """Epochs without pruning."""
    settled_share: ClassVar[float] = 0.3
    """Share of the epochs, at the end, in which nothing is pruned and there are no factors."""
    learning_rate: ClassVar[float] = 1.0
    """Of the parameters."""

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        self._loop = TrainingLoop(problem.dataset, self.options, problem.generator, problem.device)
        self.supernet = ElasticSupernet(self.space, problem.generator).to(problem.device)
        self.cells = MixedCells(self.supernet)
        layout = self.cells.layout
        if layout.edges != "subsets":
            raise SpaceError(
                f"gold-nas on {self.space.name}: edges carry one operation each, and pruning "
                "leaves any number; search cells-digits-free, or choose rome or darts"
            )
        self._optimiser = make_optimiser(list(self.supernet.parameters()), self.options)
        shape = (len(self.cells.edges), self.cells.operations)
        self.parameters = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        self.alive = torch.ones(shape, dtype=torch.bool)
        self._parameter_optimiser = torch.optim.SGD(
            [self.parameters], lr=self.learning_rate, momentum=0.9
        )
        nodes = [(edge.owner, edge.node) for edge in self.cells.edges]
        order = {key: i for i, key in enumerate(dict.fromkeys(nodes))}
        self._node = torch.tensor([order[key] for key in nodes])
        metrics = problem.expected.metrics
        costs = relative_costs(problem.costs, self.cells, metrics)
        self._factors = self.uniform_cost + self.measured_cost * torch.from_numpy(costs)
        steps = max(1, len(problem.dataset.x_train) // self.options.batch_size)
        self.least_increment = self.first_increment * PUBLISHED_STEPS / steps
        self.weight = 0.0
        self.increment = self.least_increment
        self.calm_epochs = 0
        self.is_settled = False
        self.front: list[list[int]] = []

    def epoch(self, epoch: int) -> Metrics:
        """One pass over the training split, then pruning."""
        if not self.is_settled:
            self._settle(epoch)
        order = torch.randperm(len(self.problem.dataset.x_train), generator=self.problem.generator)
        path = self.space.architecture(self.derive())

        def begin_step(batch: Batch) -> Callable[[Batch], Metrics]:
            if self.is_settled:
                return partial(self._settled_step, lambda images: self.supernet(images, path))
            self._move()
            return partial(self._step, len(batch.labels))

        metrics = self._loop.epoch(begin_step, self._optimiser, order, epoch)
        self._move()
        pruned = 0 if self.is_settled else self.prune()
        return metrics | {
            "pruned": float(pruned),
            "alive": float(self.alive.sum()),
            "regularisation": self.weight,
            "front": float(len(self.front)),
        }

    def factors(self) -> dict[Edge, Tensor]:
        """Weights of the operations, 0 of those that are pruned, differentiable."""
        weights = torch.sigmoid(self.parameters) * self.alive
        return dict(zip(self.cells.edges, weights.unbind(0), strict=True))

    def shares(self) -> Tensor:
        """Share of each operation in the sum of its node, `(e, k)`, differentiable."""
        weights = torch.sigmoid(self.parameters) * self.alive
        sums = weights.new_zeros(int(self._node.max()) + 1).index_add(
            0, self._node, weights.sum(1)
        )
        shares: Tensor = weights / sums[self._node][:, None]
        return shares

    def penalty(self) -> Tensor:
        """The sum that lambda multiplies, a scalar, differentiable."""
        alive = self.alive.sum(1)
        counts = alive.new_zeros(int(self._node.max()) + 1).index_add(0, self._node, alive)
        terms = torch.log1p(counts[self._node][:, None] * self.shares()) * self._factors
        return (terms * self.alive).sum()

    def prune(self) -> int:
        """Prune what has become small, and set lambda; how many were pruned."""
        with torch.no_grad():
            fallen = self.alive & (self.shares() <= self.small)
            self.alive &= ~fallen
            pruned = int(fallen.sum())
            while pruned < self.pruned_at_once and self._prune_smallest(self.smallish):
                pruned += 1
        if pruned >= self.pruned_at_once:
            self.weight /= self.growth
            self.increment = self.least_increment
        else:
            self.increment *= self.growth
            self.weight += self.increment
        self.calm_epochs = 0 if pruned else self.calm_epochs + 1
        if self.calm_epochs == self.plateau:
            self.front.append(self.derive().tolist())
        return pruned

    def derive(self) -> Row:
        """What is alive."""
        layout = self.cells.layout
        names = [operation.name for operation in layout.operations]
        kept: dict[tuple[str, int], dict[int, tuple[str, ...]]] = {}
        for edge, alive in zip(self.cells.edges, self.alive.tolist(), strict=True):
            found = tuple(name for name, is_alive in zip(names, alive, strict=True) if is_alive)
            kept.setdefault((edge.owner, edge.node), {})[edge.source] = found
        options: dict[str, Option] = {}
        for (owner, node), sources in kept.items():
            options |= layout.options(owner, node, sources)
        return self.space.from_options(options).row()

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probability of each subset if operations stayed with their factors as chances."""
        layout = self.cells.layout
        names = [operation.name for operation in layout.operations]
        column = {decision.name: i for i, decision in enumerate(self.space.decisions)}
        found = [np.zeros(int(count)) for count in self.space.option_counts]
        chances = torch.sigmoid(self.parameters.detach()) * self.alive
        for edge, chance in zip(self.cells.edges, chances.numpy(), strict=True):
            name = layout.decisions(edge.owner, edge.node)[f"edge{edge.source}"]
            options = self.space.decisions[column[name]].options
            inside = np.array(
                [[each in option for each in names] for option in options if option is not None]  # type: ignore[operator]
            )
            with np.errstate(divide="ignore"):
                logs = np.where(inside, np.log(chance), np.log1p(-chance))
            found[column[name]] = logs.sum(1)
        return found

    def state(self) -> dict[str, Any]:
        """Parameters, what is alive, lambda, and both optimisers."""
        return {
            "architecture": self.parameters.detach().clone(),
            "alive": self.alive.clone(),
            "numbers": [self.weight, self.increment, float(self.calm_epochs)],
            "is_settled": self.is_settled,
            "front": [list(row) for row in self.front],
            "architecture_optimiser": self._parameter_optimiser.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._loop.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        with reading_state(self.name):
            for own, name in ((self.parameters, "architecture"), (self.alive, "alive")):
                if own.shape != state[name].shape:
                    raise ValueError(f"{name} of shape {tuple(state[name].shape)}")
            with torch.no_grad():
                self.parameters.copy_(state["architecture"])
                self.alive.copy_(state["alive"])
            self.weight, self.increment, calm = map(float, state["numbers"])
            self.calm_epochs = int(calm)
            self.is_settled = bool(state["is_settled"])
            self.front = [[int(option) for option in row] for row in state["front"]]
            self._parameter_optimiser.load_state_dict(state["architecture_optimiser"])
            self._optimiser.load_state_dict(state["optimiser"])
            self._loop.scaler.load_state_dict(state["scaler"])

    # Private -----------------------------------------------------------------------------------

    def _settle(self, epoch: int) -> None:
        """Stop pruning when it is time, with the budgets met."""
        budgets = self.problem.budgets
        is_late = epoch >= max(1, int((1.0 - self.settled_share) * self.options.epochs))
        if is_late and budgets:
            while self._is_over_budget() and self._prune_smallest(1.0):
                pass
        if is_late or (budgets and not self._is_over_budget()):
            self.is_settled = True

    def _is_over_budget(self) -> bool:
        costs = self.problem.costs
        values = costs.cost(self.derive()[None]).astype(np.float64)
        return bool(self.problem.budgets.violation(values, costs.metrics)[0] > 0.0)

    @torch.no_grad()
    def _prune_smallest(self, limit: float) -> bool:
        """Prune the operation with the smallest share if that is at most the limit.

        False where it is larger, or only the last ones of their nodes are left.
        """
        shares = self.shares()
        candidates = torch.where(self.alive & (shares < 1.0), shares, math.inf)
        index = int(candidates.argmin())
        if not float(candidates.view(-1)[index]) <= limit:
            return False
        self.alive.view(-1)[index] = False
        return True

    def _step(self, size: int, batch: Batch) -> Metrics:
        """Gradients of weights and parameters.

        Args:
            size: Images of the whole batch, of which this may be a part.
            batch: The part.
        """
        task = functional.cross_entropy(
            self.cells(batch.images, self.factors()),
            batch.labels,
            label_smoothing=self.options.label_smoothing,
        )
        loss = task + (self.weight * self.penalty()).to(task)
        parameters = list(self.supernet.parameters())
        *gradients, own = torch.autograd.grad(
            self._loop.scale(loss), [*parameters, self.parameters], allow_unused=True
        )
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        if own is not None and bool(own.isfinite().all()):
            own = own * (len(batch.labels) / size / self._loop.scaler.get_scale())
            before = self.parameters.grad
            self.parameters.grad = own if before is None else before + own
        return {"loss": task.item(), "loss_with_cost": loss.item()}

    def _settled_step(self, network: Callable[[Tensor], Tensor], batch: Batch) -> Metrics:
        """Gradients of the weights of the derived network."""
        task = functional.cross_entropy(
            network(batch.images), batch.labels, label_smoothing=self.options.label_smoothing
        )
        parameters = list(self.supernet.parameters())
        gradients = torch.autograd.grad(self._loop.scale(task), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return {"loss": task.item(), "loss_with_cost": task.item()}

    def _move(self) -> None:
        """One step of the parameters along the gradient of the last batch."""
        self._parameter_optimiser.step()
        self.parameters.grad = None


def relative_costs(
    costs: CompiledCosts, cells: MixedCells, metrics: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    """What each operation costs, `(e, k)`, of mean 1 over all of them.

    That is how much cheaper the largest network is without it; where a measurement says that this
    saves nothing, 0.

    Args:
        costs: Compiled costs of a space whose edges keep any subset of operations.
        cells: Its mixture.
        metrics: Of the costs; their relative costs are averaged.
    """
    space, layout = costs.space, cells.layout
    names = tuple(operation.name for operation in layout.operations)
    largest = space.largest().row()
    column = {decision.name: i for i, decision in enumerate(space.decisions)}
    rows = [largest]
    for edge in cells.edges:
        decision = column[layout.decisions(edge.owner, edge.node)[f"edge{edge.source}"]]
        for name in names:
            rest = tuple(other for other in names if other != name)
            row = largest.copy()
            row[decision] = space.decisions[decision].options.index(rest)
            rows.append(row)
    found = costs.cost(np.stack(rows)).astype(np.float64)
    chosen = [costs.metrics.index(metric) for metric in metrics]
    saved = np.maximum(found[0, chosen] - found[1:, chosen], 0.0)
    means = saved.mean(0)
    shares: npt.NDArray[np.float64] = (saved / np.where(means > 0.0, means, 1.0)).mean(1)
    return shares.reshape(len(cells.edges), len(names))
