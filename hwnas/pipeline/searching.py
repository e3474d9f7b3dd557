"""The search: from a space, a target and budgets to a run directory with a measured network."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hwnas.backends import TuningBudget
from hwnas.costs import CompiledCosts, CostTable
from hwnas.errors import BudgetError, PluginError, SpaceError, TableError
from hwnas.estimators import available_estimators
from hwnas.estimators.zero_cost import DEFAULT_PROXIES, get_proxies
from hwnas.pipeline.choosing import Choice, choose
from hwnas.pipeline.estimating import TrainedEstimator, make_estimator
from hwnas.pipeline.gradient_searching import search_by_gradient
from hwnas.pipeline.profiling import costs_of
from hwnas.pipeline.requests import SearchRequest
from hwnas.pipeline.training import check_device
from hwnas.profiling import Protocol
from hwnas.progress import Progress, silent
from hwnas.quantities import format_metric
from hwnas.search import (
    STRATEGIES,
    Budget,
    Budgets,
    Evaluation,
    FeasibleFirst,
    SearchProgress,
    SearchResult,
    Strategy,
    run_search,
)
from hwnas.search.cheapest import cheapest
from hwnas.search.given_architectures import GivenArchitectures
from hwnas.search.gradient.registry import available_gradient_strategies
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import ChosenRecord, ErrorRecord, TargetRecord
from hwnas.search.run_tables import HistoryTable
from hwnas.spaces import Architecture, Population, SearchSpace, get_space
from hwnas.targets import Target, get_target

__all__ = ["search", "target_record"]

log = logging.getLogger(__name__)

_CHECKPOINT_S = 2.0


def search(
    request: SearchRequest,
    out: Path,
    table: CostTable,
    *,
    resume: bool = False,
    protocol: Protocol | None = None,
    tuning: TuningBudget | None = None,
    progress: Progress = silent,
    on_start: Callable[[RunDirectory], None] = lambda _: None,
) -> RunDirectory:
    """Run a search and write its run directory; kill it at any moment and resume it.

    Args:
        request: What is asked for.
        out: The run directory.
        table: Costs; what it lacks is profiled first.
        resume: Whether to go on with a run that is there.
        protocol: Of all measurements.
        tuning: How much tuning may take, on targets whose kernels are tuned.
        progress: Called with a line of text and the share done.
        on_start: Called with the run directory as soon as it is there.

    Raises:
        BudgetError: No architecture meets the budgets; the message says what can be had.
        HwnasError: Anything else that can be wrong with the arguments or the machine.
    """
    _check_names(request)
    space = get_space(request.space)
    target = get_target(request.target).with_settings(request.settings)
    costs = costs_of(space, target, table, protocol=protocol, tuning=tuning, progress=progress)
    budgets = resolve_budgets(request, costs)
    _check_reachable(costs, budgets)
    run = RunDirectory.create(
        out,
        {**request.arguments(), "costs": _digest(costs)},
        target=target_record(target),
        seed=request.seed,
        provenance=dict(zip(costs.metrics, costs.provenance, strict=True)),
        resume=resume,
    )
    on_start(run)
    if run.record.state == "finished":
        return run
    rngs = np.random.default_rng(request.seed).spawn(3)
    strategy: Strategy
    with _timed(run, "train"):
        if request.strategy in STRATEGIES:
            estimator = make_estimator(
                request, space, run, rngs[0], resume=resume, progress=progress
            )
            start = FeasibleFirst(space, _costing(costs), costs.metrics, budgets)
            strategy = STRATEGIES[request.strategy](
                start, rng=rngs[1], population_size=request.population
            )
            evaluations = request.evaluations
        else:
            found, estimator = search_by_gradient(
                request, run, costs, budgets, rngs[0], resume=resume, progress=progress
            )
            strategy = GivenArchitectures(space, found.population)
            evaluations = len(found.population)
    run.set_provenance({"error": estimator.provenance})
    with _timed(run, "search"):
        result = _explore(strategy, evaluations, run, costs, budgets, estimator, progress)
    if not len(result.front):
        raise BudgetError(_nearest_miss(costs, budgets, "the search found none"))
    with _timed(run, "measure"):
        choice = choose(
            result.front,
            "best" if "error" in result.front.names else "fastest",
            costs,
            target,
            budgets,
            protocol=protocol or Protocol(limit_s=20.0),
            rng=rngs[2],
            table=table,
            progress=progress,
        )
    _write_chosen(run, choice, space, budgets, estimator)
    run.finish()
    if not choice.chosen.kept:
        raise BudgetError(
            f"{len(choice.candidates)} networks were predicted to meet the budgets and none did "
            f"when measured; the nearest is in {run.path / 'chosen.json'}"
        )
    return run


def resolve_budgets(request: SearchRequest, costs: CompiledCosts) -> Budgets:
    """Limits as numbers; a share becomes that share of the largest network's predicted cost.

    Raises:
        QuantityError: Two limits on one metric.
        TableError: A metric is not known on the target.
    """
    unknown = [limit.metric for limit in request.limits if limit.metric not in costs.metrics]
    if unknown:
        raise TableError(
            f"{unknown[0]} is not known on target {request.target}: nothing counted it there when "
            "the table was made (`hwnas doctor` says whether something does); leave the budget out"
        )
    largest = costs.cost(costs.space.largest().row()[None])[0].tolist()
    known = dict(zip(costs.metrics, largest, strict=True))
    budgets = [
        Budget(limit.metric, limit.value * known[limit.metric] if limit.is_share else limit.value)
        for limit in request.limits
    ]
    return Budgets(tuple(budgets))


def target_record(target: Target) -> TargetRecord:
    """The device as a run directory names it."""
    host = f", {target.host}" if target.host else ""
    how = "" if target.gpu is None else f"; {target.how}"
    return TargetRecord(
        target.name,
        target.fingerprint,
        f"{target.description}{host}{how}",
        target.runtime.threads,
    )


def _explore(
    strategy: Strategy,
    evaluations: int,
    run: RunDirectory,
    costs: CompiledCosts,
    budgets: Budgets,
    estimator: TrainedEstimator,
    progress: Progress,
) -> SearchResult:
    cost = _costing(costs)
    objectives = ["error", "latency_s"]
    objectives += [b.metric for b in budgets.limits if b.metric not in objectives]
    evaluation = Evaluation(cost, costs.metrics, estimator.ranking, tuple(objectives))
    saved = time.monotonic()

    def on_generation(now: SearchProgress) -> None:
        nonlocal saved
        text = f"searching, {now.evaluations} of {evaluations} architectures"
        progress(text, min(1.0, now.evaluations / evaluations))
        if time.monotonic() - saved > _CHECKPOINT_S:
            run.write_state(now.state())
            saved = time.monotonic()

    result = run_search(
        strategy,
        evaluation,
        budgets,
        evaluations,
        decisions=len(costs.space.decisions),
        on_generation=on_generation,
        resume=run.read_state() if run.has("search.npz") else None,
    )
    run.write_history(HistoryTable.of(result.history))
    front = result.front
    if len(front):
        columns = cost(np.ascontiguousarray(front.population))
        run.write_front(front, dict(zip(costs.metrics, columns.T, strict=True)))
    return result


def _costing(costs: CompiledCosts) -> Callable[[Population], np.ndarray]:
    return lambda population: costs.cost(population).astype(np.float64)


def _write_chosen(
    run: RunDirectory,
    choice: Choice,
    space: SearchSpace,
    budgets: Budgets,
    estimator: TrainedEstimator,
) -> None:
    chosen = choice.chosen
    architecture = Architecture(space.name, tuple(chosen.architecture))
    error = _error_record(architecture, estimator)
    run.write_chosen(
        ChosenRecord(
            "best",
            chosen.architecture,
            space.options(architecture),
            chosen.predicted,
            chosen.measured,
            {budget.metric: budget.limit for budget in budgets.limits},
            chosen.kept,
            error,
            list(choice.candidates),
            not_measured=choice.not_measured,
        )
    )


def _error_record(architecture: Architecture, estimator: TrainedEstimator) -> ErrorRecord:
    score = estimator.score
    if estimator.validation_images is None and score != "rank":
        return ErrorRecord(score=score)
    estimated = float(estimator.estimator.error(architecture.row()[None])[0])
    if score == "rank":
        return ErrorRecord(rank_share=1.0 - estimated)
    test, images = (None, None) if estimator.test is None else estimator.test(architecture)
    return ErrorRecord(estimated, test, estimator.validation_images, images, score)


def _check_names(request: SearchRequest) -> None:
    strategies = sorted({*STRATEGIES, *available_gradient_strategies()})
    if request.strategy not in strategies:
        known = ", ".join(strategies)
        raise SpaceError(f"unknown strategy {request.strategy!r}; available: {known}")
    if request.estimator not in available_estimators():
        known = ", ".join(available_estimators())
        raise PluginError(f"unknown estimator {request.estimator!r}; available: {known}")
    if request.estimator == "zero-cost":
        get_proxies(request.proxies or DEFAULT_PROXIES)
    elif request.proxies:
        raise PluginError(f"estimator {request.estimator!r} goes by no proxies: leave them out")
    if request.strategy not in STRATEGIES:
        if request.supernet is not None:
            raise SpaceError(f"{request.strategy} trains its own supernet: leave out --supernet")
        if request.estimator != "supernet":
            raise SpaceError(
                f"{request.strategy} trains networks: it takes no estimator {request.estimator!r}"
            )
    check_device(request.device)


def _check_reachable(costs: CompiledCosts, budgets: Budgets) -> None:
    """Fail before anything is trained if no architecture meets the budgets."""
    if budgets:
        row = _least_violating(costs, budgets)
        values = costs.cost(row[None]).astype(np.float64)
        if budgets.violation(values, costs.metrics)[0] > 0.0:
            raise BudgetError(_nearest_miss(costs, budgets, "there is none"))


def _least_violating(costs: CompiledCosts, budgets: Budgets) -> np.ndarray:
    def score(population: Population) -> np.ndarray:
        values = costs.cost(np.ascontiguousarray(population)).astype(np.float64)
        return budgets.violation(values, costs.metrics)

    return cheapest(costs.space, score, np.random.default_rng(0))


def _nearest_miss(costs: CompiledCosts, budgets: Budgets, found: str) -> str:
    """What was asked, and what can be had: the lowest cost of each budgeted metric."""
    asked, possible = [], []
    for budget in budgets.limits:
        column = costs.metrics.index(budget.metric)

        def score(population: Population, column: int = column) -> np.ndarray:
            return costs.cost(np.ascontiguousarray(population))[:, column].astype(np.float64)

        row = cheapest(costs.space, score, np.random.default_rng(0))
        lowest = float(score(row[None])[0])
        asked.append(f"{budget.metric} <= {format_metric(budget.limit, budget.metric)}")
        name = "fastest" if budget.metric == "latency_s" else f"least {budget.metric}"
        possible.append(
            f"the {name} architecture has {format_metric(lowest, budget.metric)} "
            f"(indices {' '.join(map(str, row.tolist()))})"
        )
    return (
        f"no architecture of {costs.space.name} with {' and '.join(asked)}: {found}; "
        f"{'; '.join(possible)}"
    )


def _digest(costs: CompiledCosts) -> str:
    """16 hexadecimal digits over all slots: a run is resumed against the same costs only."""
    digest = hashlib.sha256(costs.constant.tobytes())
    for slots in costs.slots:
        digest.update(slots.tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _timed(run: RunDirectory, stage: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    run.add_timing(stage, round(time.monotonic() - begin, 3))
