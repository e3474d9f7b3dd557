"""From a front to one network whose measured cost keeps the budget."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hwnas.backends import MeasuringBackend
from hwnas.costs import CompiledCosts, CostTable
from hwnas.costs.published import PUBLISHED
from hwnas.errors import PluginError, TargetError
from hwnas.lowering import random_weights
from hwnas.profiling import (
    EnergyMeter,
    Estimate,
    NoMeterError,
    Protocol,
    backend_for,
    find_meter,
    measure_networks,
    space_anchors,
)
from hwnas.progress import Progress, silent
from hwnas.search import Budgets, Front
from hwnas.search.run_records import Candidate, CostFigure
from hwnas.targets import Target

__all__ = ["Choice", "choose", "measured_figure", "predicted_figures"]

_AT_A_TIME = 4  # candidates measured side by side
_MOST = 12  # candidates measured before the search for one that keeps the budget ends


@dataclass(frozen=True)
class Choice:
    """The chosen member of a front.

    Args:
        index: Its index in the front.
        candidates: What was measured, in the order it was tried; the chosen one among them.
        not_measured: Why a device that could be measured was not; empty otherwise.
    """

    index: int
    candidates: tuple[Candidate, ...]
    not_measured: str = ""

    @property
    def chosen(self) -> Candidate:
        """The chosen one: the first that keeps the budgets, or else the one nearest to it."""
        return next((c for c in self.candidates if c.kept), self.candidates[-1])


def choose(
    front: Front,
    pick: str | int,
    costs: CompiledCosts,
    target: Target,
    budgets: Budgets,
    *,
    protocol: Protocol,
    rng: np.random.Generator,
    table: CostTable | None = None,
    progress: Progress = silent,
) -> Choice:
    """Measure the picked member, and others by growing error until one keeps the budgets.

    Where the target cannot be measured, predictions decide; so they do for energy where nothing
    counts it.

    Args:
        front: Not empty.
        pick: As `Front.pick` takes it.
        costs: Compiled costs, for predictions.
        target: The device.
        budgets: Upper limits.
        protocol: Of the measurement.
        rng: Draws weights and orders.
        table: With measured networks of the space, to compare at one speed of the machine.
        progress: Called with a line of text and the share done.
    """
    backend, obstacle = _measuring_backend(target, table, costs)
    predicted = [predicted_figures(costs, row) for row in front.population]
    order = _order(front, front.pick(pick))
    if backend is None:
        first = order[0]
        return Choice(first, (_candidate(front, first, predicted[first], {}, budgets),), obstacle)
    anchors = (
        {} if table is None else space_anchors(costs.space, backend, target, table, costs.source)
    )
    meter = _energy_meter(target, budgets)
    tried: list[Candidate] = []
    indices: list[int] = []
    for group in _groups(order[:_MOST]):
        executables = {}
        for index in group:
            graph = costs.space.network(costs.space.architecture(front.population[index]))
            weights = random_weights(graph, rng)
            executables[str(index)] = backend.compile(graph, weights, target)
        found = measure_networks(
            executables,
            target,
            backend,
            protocol=protocol,
            rng=rng,
            anchors=anchors,
            progress=progress,
        )
        for index in group:
            measured = {"latency_s": measured_figure(found[str(index)])}
            if meter is not None:
                energy = meter.energy_of(executables[str(index)])
                measured["energy_j"] = measured_figure(energy)
            tried.append(_candidate(front, index, predicted[index], measured, budgets))
            indices.append(index)
        kept = [position for position, candidate in enumerate(tried) if candidate.kept]
        if kept:
            return Choice(indices[kept[0]], tuple(tried))
    excess = [_violation(candidate, budgets) for candidate in tried]
    nearest = int(np.argmin(excess))
    tried.append(tried.pop(nearest))
    return Choice(indices[nearest], tuple(tried))


def _energy_meter(target: Target, budgets: Budgets) -> EnergyMeter | None:
    """What measures energy, where a budget of it has to be kept and there is something."""
    if all(budget.metric != "energy_j" for budget in budgets.limits):
        return None
    try:
        return find_meter(target)
    except NoMeterError:
        return None


def _measuring_backend(
    target: Target, table: CostTable | None, costs: CompiledCosts
) -> tuple[MeasuringBackend | None, str]:
    """What measures the target now, or None and why not; a formula needs no reason."""
    try:
        backend = backend_for(target, table)
    except (PluginError, TargetError) as error:
        obstacle = str(error)
    else:
        if not isinstance(backend, MeasuringBackend):
            return None, ""
        available = backend.is_available(target)
        if available.works:
            return backend, ""
        obstacle = available.reason
    if costs.source.runtime.startswith(PUBLISHED):
        return None, f"published table ({obstacle})"
    return None, obstacle


def predicted_figures(costs: CompiledCosts, row: np.ndarray) -> dict[str, CostFigure]:
    """Predicted costs of one architecture by metric."""
    values = costs.cost(np.ascontiguousarray(row[None]))[0].tolist()
    named = zip(costs.metrics, values, costs.provenance, strict=True)
    return {metric: CostFigure(value, provenance) for metric, value, provenance in named}


def measured_figure(estimate: Estimate) -> CostFigure:
    """A measurement as the run directory keeps it."""
    return CostFigure(
        estimate.value,
        "measured",
        estimate.low,
        estimate.high,
        estimate.spread,
        estimate.repeats,
    )


def _order(front: Front, picked: int) -> list[int]:
    """The picked member, then the others by error (ties: by the remaining objectives)."""
    keys = [column for column in front.objectives.T[::-1]]
    if "error" in front.names:
        keys.append(front.objectives[:, front.names.index("error")])
    order = np.lexsort(keys).tolist()
    order.remove(picked)
    return [picked, *order]


def _groups(order: list[int]) -> Iterator[list[int]]:
    yield order[:1]  # most often the first one keeps the budget
    for start in range(1, len(order), _AT_A_TIME):
        yield order[start : start + _AT_A_TIME]


def _candidate(
    front: Front,
    index: int,
    predicted: dict[str, CostFigure],
    measured: dict[str, CostFigure],
    budgets: Budgets,
) -> Candidate:
    row = [int(option) for option in front.population[index]]
    candidate = Candidate(row, predicted, measured, kept=False)
    kept = _violation(candidate, budgets) <= 0.0
    return Candidate(row, predicted, measured, kept=kept)


def _violation(candidate: Candidate, budgets: Budgets) -> float:
    """Violation by measured costs where there are any, by predicted ones otherwise."""
    figures = {**candidate.predicted, **candidate.measured}
    values = [np.nan if f.value is None else f.value for f in figures.values()]
    return float(budgets.violation(np.array([values]), tuple(figures))[0])
