"""The co-search: from spaces, specs and a technology to a run directory with a design."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hwnas.accelerators import get_technology
from hwnas.cosearch import (
    METRICS,
    STRATEGIES,
    CoSearch,
    CoSearchOptions,
    CostTables,
    DesignEvaluator,
    Problem,
    Specs,
    TaskErrors,
    tabulate_costs,
)
from hwnas.cosearch.design_record import (
    NetworkRecord,
    describe_design,
    network_record,
    read_design,
    write_design,
)
from hwnas.errors import BudgetError
from hwnas.pipeline.cosearch_requests import CoSearchRequest, default_data
from hwnas.pipeline.estimating import TrainedEstimator, estimator_of
from hwnas.progress import Progress, silent
from hwnas.quantities import format_metric
from hwnas.search.cheapest import cheapest
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import TargetRecord
from hwnas.spaces import Architecture, Population, get_hardware_space, get_space

__all__ = ["cosearch"]

log = logging.getLogger(__name__)

_CHECKPOINT_S = 2.0
_CHIPS = 1024  # on which the smallest networks are tried before anything is trained


def cosearch(
    request: CoSearchRequest,
    out: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
    on_start: Callable[[RunDirectory], None] = lambda _: None,
) -> RunDirectory:
    """Run a co-search and write its run directory; kill it at any moment and resume it.

    Args:
        request: What is asked for.
        out: The run directory.
        resume: Whether to go on with a run that is there.
        progress: Called with a line of text and the share done.
        on_start: Called with the run directory as soon as it is there.

    Raises:
        BudgetError: No design meets the specs; the message names the nearest miss. If it was the
            search that found none, the run directory is whole.
        HwnasError: Anything else that can be wrong with the arguments, the data or the machine.
    """
    technology = get_technology(request.technology)
    specs = Specs.parse(request.spec, technology.clock_hz)
    spaces = [get_space(name) for name in request.spaces]
    progress("costing layers on sub-accelerators", 0.0)
    tables = tabulate_costs(spaces, get_hardware_space(request.hardware), technology)
    evaluator = DesignEvaluator(tables, specs)
    _check_reachable(evaluator)
    run = RunDirectory.create(
        out,
        {"command": "cosearch", **request.arguments()},
        target=_target_record(tables),
        seed=request.seed,
        provenance=dict.fromkeys(("latency_s", "energy_j", "area_mm2", *METRICS), "modelled"),
        resume=resume,
    )
    on_start(run)
    if run.record.state == "running":
        _search(request, run, evaluator, progress)
    found = read_design(run.path / "chosen.json")
    if not found.specs_met:
        missed = ", ".join(
            f"{metric} of {'no schedule' if share is None else f'{share:.3g} times the spec'}"
            for metric, share in found.missed.items()
        )
        raise BudgetError(
            f"{request.strategy} found no design with {specs}; the nearest, in "
            f"{run.path / 'chosen.json'}, has {missed}"
        )
    return run


def _search(
    request: CoSearchRequest, run: RunDirectory, evaluator: DesignEvaluator, progress: Progress
) -> None:
    tables = evaluator.tables
    begin = time.monotonic()
    estimators = _estimators(request, run, tables, progress)
    run.add_timing("train", round(time.monotonic() - begin, 3))
    for label, estimator in zip(tables.labels, estimators, strict=True):
        run.set_provenance({f"error_{label}": estimator.provenance})
    provenances = {estimator.provenance for estimator in estimators}
    run.set_provenance({"error": provenances.pop() if len(provenances) == 1 else "modelled"})
    errors = TaskErrors(tables.joint, [e.estimator for e in estimators], request.shares)
    options = CoSearchOptions(request.episodes, request.hardware_steps)
    search: CoSearch = STRATEGIES[request.strategy](
        Problem(evaluator, errors), options, np.random.default_rng(request.seed)
    )
    if run.has("search.npz"):
        search.restore(run.read_state())
    begin = saved = time.monotonic()

    def on_progress(share: float) -> None:
        nonlocal saved
        progress(f"searching designs, {len(evaluator)} scheduled", share)
        if time.monotonic() - saved > _CHECKPOINT_S:
            run.write_state(search.state())
            saved = time.monotonic()

    search.run(on_progress)
    run.write_state(search.state())
    run.add_timing("search", round(time.monotonic() - begin, 3))
    designs = search.designs
    log.info(
        "%s evaluated %d designs, %d of them distinct, and asked for the errors of %s networks",
        request.strategy,
        len(designs),
        len(evaluator),
        " and ".join(map(str, errors.queries)),
    )
    front = designs.front()
    run.write_history(designs.table())
    run.write_front(front, designs.front_columns(front))
    chosen = search.handed_over()
    row = designs.population[chosen]
    networks = _networks(request, tables, row, designs.errors[chosen], estimators)
    scheduled = evaluator.schedule(row)
    record = describe_design(tables, evaluator.specs, row, scheduled, networks, request.strategy)
    write_design(run.path / "chosen.json", record)
    run.finish()


def _estimators(
    request: CoSearchRequest, run: RunDirectory, tables: CostTables, progress: Progress
) -> list[TrainedEstimator]:
    spaces = [program.space for program in tables.programs]
    data = request.data or tuple(default_data(space) for space in spaces)
    return [
        estimator_of(
            space,
            data[task],
            request.estimator,
            run.path / "estimators" / tables.labels[task],
            table=request.error_tables[task] if request.error_tables else None,
            interpolate=request.interpolate,
            recipe=request.recipe,
            training=request.training,
            device=request.device,
            seed=request.seed,
            progress=progress,
        )
        for task, space in enumerate(spaces)
    ]


def _networks(
    request: CoSearchRequest,
    tables: CostTables,
    row: Population,
    errors: np.ndarray,
    estimators: list[TrainedEstimator],
) -> list[NetworkRecord]:
    records = []
    for task, part in enumerate(tables.joint.split(row[None])[:-1]):
        estimator, error = estimators[task], float(errors[task])
        known = math.isfinite(error)
        test_error = None
        if known and estimator.test is not None:
            space = tables.programs[task].space
            architecture = Architecture(space.name, tuple(part[0].tolist()))
            test_error, _ = estimator.test(architecture)
        records.append(
            network_record(
                tables,
                task,
                part[0],
                weight=request.shares[task],
                score=estimator.score,
                validation_error=error if known else None,
                test_error=test_error,
                provenance=estimator.provenance,
            )
        )
    return records


def _target_record(tables: CostTables) -> TargetRecord:
    """The chips' space in a technology, with the costs as its fingerprint."""
    technology = tables.technology
    return TargetRecord(
        tables.hardware.name,
        tables.digest,
        f"{tables.hardware.description}; {technology.name}: {technology.description}",
        1,
    )


def _check_reachable(evaluator: DesignEvaluator) -> None:
    """Fail before anything is trained if no design meets the specs."""
    joint = evaluator.tables.joint
    rng = np.random.default_rng(0)
    chips = joint.spaces[-1].sample(_CHIPS, rng)
    smallest = [np.repeat(s.smallest().row()[None], _CHIPS, axis=0) for s in joint.spaces[:-1]]
    if (evaluator.violation(joint.join([*smallest, chips])) <= 0.0).any():
        return
    row = cheapest(joint, evaluator.violation, rng)
    if evaluator.violation(row[None])[0] <= 0.0:
        return
    costs = dict(zip(METRICS, evaluator.costs(row[None])[0].tolist(), strict=True))
    has = ", ".join(f"{metric} {format_metric(value, metric)}" for metric, value in costs.items())
    raise BudgetError(
        f"no design of {joint.name} with {evaluator.specs}: there is none; the nearest miss has "
        f"{has} (indices {' '.join(map(str, row.tolist()))})"
    )
