"""Space and target to compiled costs; what the table lacks is measured first."""

import logging

import numpy as np

from hwnas.backends import TuningBudget
from hwnas.costs import CompiledCosts, CostTable, compile_costs
from hwnas.costs.published import published_costs
from hwnas.errors import PluginError, TableError, TargetError
from hwnas.profiling import Protocol, backend_for, profile_space, source_of
from hwnas.progress import Progress, silent
from hwnas.spaces import SearchSpace
from hwnas.targets import Target

__all__ = ["costs_of"]

log = logging.getLogger(__name__)


def costs_of(
    space: SearchSpace,
    target: Target,
    table: CostTable,
    *,
    protocol: Protocol | None = None,
    tuning: TuningBudget | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> CompiledCosts:
    """Costs of every architecture of a space, profiling first where rows are missing.

    Rows of the target's own runtime come first. Where they are not complete, the one published
    source that is complete serves (`hwnas table import`), whether or not the target works here.

    Raises:
        TargetError: The target does not work on this machine.
        TableError: The table cannot be read or written.
    """
    try:
        return _compiled(space, target, table)
    except (PluginError, TableError, TargetError) as error:
        log.info("no costs of the target's own: %s", error)
    published = published_costs(space, table, target.fingerprint)
    if published is not None:
        log.info("costs as %s", published.source.runtime)
        return published
    profile_space(
        space,
        target,
        table,
        protocol=protocol,
        tuning=tuning,
        rng=np.random.default_rng(seed),
        progress=progress,
    )
    return _compiled(space, target, table)


def _compiled(space: SearchSpace, target: Target, table: CostTable) -> CompiledCosts:
    source = source_of(target, backend_for(target, table))
    return compile_costs(
        space,
        table,
        source,
        optional=("energy_j",) if target.energy.source == "nvml" else (),
        memory_scale=target.activation_scale,
    )
