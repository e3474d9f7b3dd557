"""The loop around a gradient-based strategy: epochs, checkpoints, and hard budgets.

After every epoch but those of a warm-up the derived architecture's own cost, not the expected one,
adapts the weight of the cost. If the budgets are not met after the last epoch, more epochs follow,
half as many at most; what is over them even then is repaired by the least wanted changes. What is
handed over are several architectures around the derived one, for the one whose prediction holds
when measured.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hwnas.costs.compiled import CompiledCosts
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.datasets.dataset import Dataset
from hwnas.errors import BudgetError, RunError
from hwnas.search.budgets import Budgets
from hwnas.search.gradient.budget_repair import shrink_path
from hwnas.search.gradient.hardware_loss import HardwareLoss, make_hardware_loss
from hwnas.search.gradient.registry import load_gradient_strategy
from hwnas.search.gradient.strategy import GradientProblem, GradientStrategy
from hwnas.spaces import Population
from hwnas.supernet.supernet import Supernet
from hwnas.supernet.threads import side_by_side
from hwnas.training.checkpoint import load_checkpoint, save_checkpoint
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics
from hwnas.training.supernet_training import check_data, check_task, training_identity

__all__ = ["GradientResult", "gradient_search"]

log = logging.getLogger(__name__)

MORE_EPOCHS = 0.5  # of the planned ones, while the derived network is over a budget
CANDIDATES = 8  # architectures handed over at most, beside those of earlier epochs
LEAST_SHARE = 0.85  # of the budget, down to which smaller candidates are handed over


@dataclass(frozen=True, eq=False)
class GradientResult:
    """What a gradient-based search found.

    Args:
        supernet: Trained weights.
        population: `(n, d)` distinct architectures that meet the budgets by prediction, the one
            that was derived last (and repaired) first.
        rows: Metrics of every epoch, the derived architecture's costs among them.
        repaired: Whether the derived architecture was over a budget at the end.
        seconds: Wall time of this call.
    """

    supernet: Supernet
    population: Population
    rows: tuple[Metrics, ...]
    repaired: bool
    seconds: float


def gradient_search(
    dataset: Dataset,
    costs: CompiledCosts,
    budgets: Budgets,
    strategy: str | type[GradientStrategy],
    options: TrainingOptions | None = None,
    *,
    hardware_loss: str | None = None,
    cost_weight: float | None = None,
    rng: np.random.Generator,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int, Metrics], None] | None = None,
    device: str = "cpu",
) -> GradientResult:
    """Train weights and architecture together; hand over architectures that meet the budgets.

    Args:
        dataset: The data; test images are not looked at.
        costs: Compiled costs of the space to search.
        budgets: Upper limits.
        strategy: Name of the strategy, or its class.
        options: By default those that the strategy recommends.
        hardware_loss: A name in `HARDWARE_LOSSES`; by default `lagrangian` under budgets, which
            are then hard, and `log` without.
        cost_weight: Weight of the cost in losses that have a fixed one.
        rng: The only source of chance; on resume its state is replaced by the saved one.
        checkpoint: File that is replaced after every epoch.
        resume: Go on from `checkpoint` if it is there; the result is that of an unbroken run.
        progress: Called after every epoch with its number from 1, the planned number, metrics.
        device: Where torch computes.

    Raises:
        BudgetError: No architecture meets the budgets.
        DataError: The images do not fit the space's networks, the strategy is not for their task,
            or a batch is larger than the data.
        DivergenceError: The loss is not finite; the checkpoint of the epoch before is kept.
        PluginError: There is no such strategy.
        RunError: The checkpoint is corrupt, or of another space, data set, strategy or options.
        SpaceError: The strategy is not for this space, or the hardware loss is unknown.
    """
    begin = time.perf_counter()
    space = costs.space
    made = load_gradient_strategy(strategy) if isinstance(strategy, str) else strategy
    options = options or made.defaults
    check_task(f"strategy {made.name}", made.tasks, dataset)
    check_data(space, dataset)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    expected, loss = _hardware(costs, budgets, hardware_loss, cost_weight, device)
    identity = training_identity(space, dataset, made.name, options)
    identity["hardware loss"] = repr(loss)
    rows: list[Metrics] = []
    derived: list[list[int]] = []
    with side_by_side(device) as executor:
        problem = GradientProblem(
            space,
            dataset,
            costs,
            budgets,
            expected,
            loss,
            options,
            rng,
            generator,
            device,
            executor,
        )
        method = made(problem)
        if resume and checkpoint is not None and checkpoint.exists():
            found = load_checkpoint(checkpoint, identity)
            method.restore(found.part("strategy"))
            loss.restore(found.part("hardware_loss"))
            found.load_into(supernet=method.supernet, generator=generator, rng=rng)
            rows, derived = found.rows, found.part("derived").get("rows", [])
            if len(derived) != len(rows):
                raise RunError(f"checkpoint {checkpoint} is damaged; delete it to start anew")
        while _goes_on(costs, budgets, derived, options.epochs):
            metrics = method.epoch(len(rows))
            row = method.derive()
            values = costs.cost(row[None])[0].astype(np.float64)
            named = dict(zip(costs.metrics, values.tolist(), strict=True))
            if len(rows) >= method.warmup_epochs:
                loss.update([named[metric] for metric in expected.metrics])
            rows.append(metrics | {f"derived_{metric}": named[metric] for metric in costs.metrics})
            derived.append(row.tolist())
            if checkpoint is not None:
                save_checkpoint(
                    checkpoint,
                    identity,
                    method.supernet,
                    rows,
                    strategy=method.state(),
                    hardware_loss=loss.state(),
                    derived={"rows": derived},
                    generator=generator,
                    rng=rng,
                )
            if progress is not None:
                progress(len(rows), max(options.epochs, len(rows)), rows[-1])
    method.supernet.eval()
    last = np.array(derived[-1], dtype=np.uint8)
    repaired = bool(_violation(costs, budgets, last[None])[0] > 0.0)
    population = _candidates(method, last, derived, rng)
    seconds = time.perf_counter() - begin
    log.info(
        "%s on %s: %d epochs in %.1f s, derived architecture %s the budgets",
        made.name,
        space.name,
        len(rows),
        seconds,
        "repaired to meet" if repaired else "meets",
    )
    return GradientResult(method.supernet, population, tuple(rows), repaired, seconds)


def _hardware(
    costs: CompiledCosts,
    budgets: Budgets,
    name: str | None,
    weight: float | None,
    device: str,
) -> tuple[DifferentiableCosts, HardwareLoss]:
    """Expected costs of the budgeted metrics, and the loss over them.

    A budget on a metric that is no sum over blocks is kept by the choice of candidates alone;
    without budgets, the first additive metric is the cost.
    """
    reductions = dict(zip(costs.metrics, costs.reductions, strict=True))
    limits = {b.metric: b.limit for b in budgets.limits if reductions[b.metric] == "sum"}
    metrics = tuple(limits) or tuple(m for m in costs.metrics if reductions[m] == "sum")[:1]
    expected = DifferentiableCosts(costs, metrics, device)
    name = name or ("lagrangian" if limits else "log")
    largest = costs.cost(costs.space.largest().row()[None])[0].tolist()
    given = {} if weight is None else {"weight": weight}
    loss = make_hardware_loss(
        name,
        targets=tuple(limits.values()),
        largest=[largest[costs.metrics.index(metric)] for metric in metrics],
        **given,
    )
    return expected, loss


def _goes_on(
    costs: CompiledCosts, budgets: Budgets, derived: list[list[int]], planned: int
) -> bool:
    if len(derived) < planned:
        return True
    last = np.array([derived[-1]], dtype=np.uint8)
    over = _violation(costs, budgets, last)[0] > 0.0
    return bool(over and len(derived) < planned * (1.0 + MORE_EPOCHS))


def _candidates(
    method: GradientStrategy, last: np.ndarray, derived: list[list[int]], rng: np.random.Generator
) -> Population:
    """Feasible architectures: the last one repaired, ever smaller ones, and those before it."""
    problem = method.problem
    costs, budgets = problem.costs, problem.budgets
    rows = list(
        shrink_path(last, costs, budgets, method.preference(), rng, LEAST_SHARE, CANDIDATES)
    )
    if not rows:
        raise BudgetError(f"no architecture of {costs.space.name} meets the budgets")
    earlier = np.array(derived[::-1], dtype=np.uint8)
    rows += list(earlier[_violation(costs, budgets, earlier) <= 0.0][:CANDIDATES])
    return np.array(list(dict.fromkeys(tuple(row.tolist()) for row in rows)), dtype=np.uint8)


def _violation(costs: CompiledCosts, budgets: Budgets, population: Population) -> np.ndarray:
    values = costs.cost(np.ascontiguousarray(population)).astype(np.float64)
    return budgets.violation(values, costs.metrics)
