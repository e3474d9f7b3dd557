"""Published tables into the cost table, with what they are worth."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hwnas.costs import (
    Cost,
    CostTable,
    Provenance,
    Source,
)
from hwnas.costs.block_fit import BlockFit, fit_blocks
from hwnas.costs.published import (
    PUBLISHED,
    block_costs,
    kind_of,
    network_latencies,
    own_rows,
)
from hwnas.costs.published_file import PublishedFile, read_published_file
from hwnas.errors import TableError
from hwnas.graph import Kernel, count_graph
from hwnas.profiling.cost_rows import cost_row, modelled_energy_rows, timestamp
from hwnas.profiling.estimate import Estimate
from hwnas.profiling.units import describe_kernel, units_of
from hwnas.spaces import SearchSpace
from hwnas.targets import Target

__all__ = ["ImportSummary", "import_table"]

log = logging.getLogger(__name__)

_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._,:;()@/+-]{0,99}")


@dataclass(frozen=True)
class ImportSummary:
    """What an import did.

    Args:
        kind: `rows`, `blocks` or `networks`.
        rows: Rows written.
        source: What the rows' runtime is; empty for rows of hwnas, which keep theirs.
        blocks: Distinct blocks of the space.
        published: Those whose cost the file decides.
        modelled: Those in no row, whose cost is estimated from operations.
        idle: Rows left out because they are of blocks that do nothing.
        bad: What was wrong with rows left out.
        fit: What fitted block costs are worth.
    """

    kind: str
    rows: int
    source: str = ""
    blocks: int = 0
    published: int = 0
    modelled: int = 0
    idle: int = 0
    bad: tuple[str, ...] = ()
    fit: BlockFit | None = None


def import_table(
    path: Path,
    table: CostTable,
    *,
    target: Target | None = None,
    space: SearchSpace | None = None,
    source: str = "",
    skip_bad: bool = False,
) -> ImportSummary:
    """Import a file of one of the kinds that `hwnas.costs.published` describes.

    Args:
        path: A `.csv` or `.csv.gz` file.
        table: Where rows go.
        target: The device that was measured; needed but for rows of hwnas.
        space: The space whose blocks or networks were measured; likewise.
        source: Who published the file; by default its name.
        skip_bad: Whether rows without a positive latency are left out and counted.

    Raises:
        TableError: The file is not one of them, or a row is wrong.
    """
    file = read_published_file(path, skip_bad=skip_bad)
    kind = kind_of(file)
    if kind == "rows":
        return ImportSummary(kind, _newer_rows(file, table))
    if target is None or space is None:
        raise TableError(f"{path} is a table of {kind}: give --target and --space")
    name = source or path.name.removesuffix(".gz").removesuffix(".csv")
    if _SOURCE.fullmatch(name) is None:
        raise TableError(f"{name[:100]!r} names no source; give one such as 'HW-NAS-Bench v1.0'")
    where = Source(target.fingerprint, PUBLISHED + name)
    fit, idle = None, 0
    estimates: dict[str, tuple[Estimate, Provenance]] = {}
    if kind == "blocks":
        costs, idle = block_costs(file, space)
        for key, cost in costs.items():
            figures = Estimate(cost.value, cost.low, cost.high, cost.spread, cost.rows, 0)
            estimates[key] = figures, "published"
    else:
        fit = fit_blocks(space, *network_latencies(file, space))
        for key, block in fit.blocks.items():
            seen = block.networks
            figures = Estimate(block.value, block.low, block.high, block.spread, seen, 0)
            estimates[key] = figures, "published" if seen else "modelled"
    blocks = _write(estimates, space, target, where, table)
    published = sum(provenance == "published" for _, provenance in estimates.values())
    return ImportSummary(
        kind,
        len(estimates),
        where.runtime,
        blocks,
        published,
        len(estimates) - published,
        idle,
        file.bad,
        fit,
    )


def _newer_rows(file: PublishedFile, table: CostTable) -> int:
    """Rows of hwnas, taken over where the table has none or an older one; how many."""
    known = {_identity(row): row.taken for row in table.rows()}
    newest: dict[tuple[str, ...], Cost] = {}
    for row in own_rows(file):
        if row.taken > known.get(_identity(row), ""):
            known[_identity(row)] = row.taken
            newest[_identity(row)] = row
    table.put(newest.values())
    return len(newest)


def _identity(row: Cost) -> tuple[str, ...]:
    return row.key, row.fingerprint, row.runtime, row.metric


def _write(
    estimates: dict[str, tuple[Estimate, Provenance]],
    space: SearchSpace,
    target: Target,
    source: Source,
    table: CostTable,
) -> int:
    """Write latencies, and energies by the target's constants; how many blocks the space has."""
    taken = timestamp()
    rows: list[Cost] = []
    kernels: list[Kernel] = []
    units = units_of(space)
    for key, (estimate, provenance) in estimates.items():
        graph = units[key].fragment.graph
        kernels.append(describe_kernel(key, graph))
        rows.append(cost_row(key, source, "latency_s", estimate, provenance, taken))
        rows += modelled_energy_rows(key, source, count_graph(graph), target, taken)
    table.put_target(source.fingerprint, target.name, msgspec.json.encode(target).decode())
    table.put(rows, kernels)
    log.info("%d of %d blocks of %s from %s", len(estimates), len(units), space.name, source)
    return len(units)
