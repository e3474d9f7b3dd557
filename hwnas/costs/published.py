"""Published tables: what their rows mean, and how compiled costs are found in them.

Three kinds of file are told apart by their header:

1. *Rows of hwnas*, as `hwnas table export` writes them: every column of a cost, any target. They
   keep their provenance.
2. *Blocks*: `block`, a latency, and what the block chooses. `block` is a block's name, or its
   number among the blocks that choose something, from 0. What it chooses is either in `choice`
   (number of the combination of its decisions, the first one most significant; or, for a block
   with one decision, the option) or in one column a decision.
3. *Networks*: a latency, and either `arch`, one option a decision with blanks between, or one
   column a decision. Block costs are fitted (`hwnas.costs.block_fit`).

Latency is `latency_ms` or `latency_s`. An option is given as its number from 0 or, if it is no
number, as `hwnas spaces NAME` prints it. A column `space` must name the space. Other columns of
blocks and networks are left alone.

Rows of kinds 2 and 3 have the runtime `published: SOURCE`. Whoever needs costs takes those of the
target's own runtime if they are complete, and otherwise those of the one published source that is.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from hwnas.costs.compiled import CompiledCosts, compile_costs
from hwnas.costs.published_file import PublishedFile, PublishedRow
from hwnas.costs.table import COST_FIELDS, Cost, CostTable, Provenance, Source
from hwnas.errors import SpaceError, TableError
from hwnas.quantities import METRIC_DIMENSIONS
from hwnas.spaces import ChoiceBlock, Decision, Population, SearchSpace

__all__ = [
    "PUBLISHED",
    "BlockCost",
    "block_costs",
    "kind_of",
    "network_latencies",
    "own_rows",
    "published_costs",
]

PUBLISHED = "published: "
_KEY = re.compile(r"[0-9a-f]{32}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_RUNTIME = re.compile(r"[\x20-\x7e]{1,200}")
_PROVENANCES: dict[str, Provenance] = {
    "measured": "measured",
    "simulated": "simulated",
    "modelled": "modelled",
    "published": "published",
}


@dataclass(frozen=True)
class BlockCost:
    """Published latency of a distinct block, in s.

    Args:
        value: Median of the rows that are of this block; equal blocks may stand in several places.
        low: The least of them.
        high: The largest.
        spread: Distance between their quartiles.
        rows: How many.
    """

    value: float
    low: float
    high: float
    spread: float
    rows: int


def kind_of(file: PublishedFile) -> str:
    """`rows`, `blocks` or `networks`.

    Raises:
        TableError: The header is of neither.
    """
    columns = set(file.columns)
    if columns == set(COST_FIELDS):
        return "rows"
    if {"latency_s", "latency_ms"} & columns:
        if "block" in columns:
            return "blocks"
        if "arch" in columns or any("." in name for name in columns):
            return "networks"
    raise TableError(
        f"{file.path} has the columns {', '.join(file.columns)[:200]}; a table of blocks has "
        "`block` and latency_ms or latency_s, one of networks `arch` or a column a decision and a "
        f"latency, an export of hwnas {', '.join(COST_FIELDS)}"
    )


def own_rows(file: PublishedFile) -> list[Cost]:
    """Rows that hwnas exported.

    Raises:
        TableError: A cell is not what such a row holds; row and column are named.
    """
    return [_own_row(file, row) for row in file.rows]


def block_costs(file: PublishedFile, space: SearchSpace) -> tuple[dict[str, BlockCost], int]:
    """Published costs of the blocks of a space by key, and rows that are of blocks doing nothing.

    Raises:
        TableError: A row names no block or choice of the space.
    """
    found: dict[str, list[float]] = {}
    idle = 0
    for row in file.rows:
        _check_space(file, row, space)
        try:
            block = _block(space, row.cells["block"])
            choice = _choice(space, space.blocks[block], row.cells)
        except SpaceError as error:
            raise TableError(f"{file.path}, row {row.line}: {error}") from None
        fragment = space.fragment(block, choice)
        if fragment.is_empty:
            idle += 1
        else:
            found.setdefault(fragment.key, []).append(row.latency_s)
    costs = {}
    for key, values in found.items():
        low, value, high = (float(q) for q in np.percentile(values, (25, 50, 75)))
        costs[key] = BlockCost(value, min(values), max(values), high - low, len(values))
    return costs, idle


def network_latencies(
    file: PublishedFile, space: SearchSpace
) -> tuple[Population, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Published networks of a space as `(n, d)`, and their latencies in s, `(n,)`.

    Raises:
        TableError: A row is of no architecture of the space.
    """
    names = [decision.name for decision in space.decisions]
    listed = "arch" in file.columns
    missing = [] if listed else [name for name in names if name not in file.columns]
    if missing:
        raise TableError(f"{file.path} has no column for decision {missing[0]!r} of {space.name}")
    population = np.empty((len(file.rows), len(names)), dtype=np.uint8)
    for i, row in enumerate(file.rows):
        _check_space(file, row, space)
        cells = row.cells["arch"].split() if listed else [row.cells[name] for name in names]
        if len(cells) != len(names):
            raise TableError(
                f"{file.path}, row {row.line}: arch has {len(cells)} options, {space.name} has "
                f"{len(names)} decisions"
            )
        try:
            pairs = zip(space.decisions, cells, strict=True)
            population[i] = [_option(decision, cell) for decision, cell in pairs]
        except SpaceError as error:
            raise TableError(f"{file.path}, row {row.line}: {error}") from None
    return population, np.array([row.latency_s for row in file.rows])


def published_costs(
    space: SearchSpace, table: CostTable, fingerprint: str
) -> CompiledCosts | None:
    """Costs of a space from the one published source that has all of its blocks, or None.

    Raises:
        TableError: There are several such sources.
    """
    rows = table.rows(metric="latency_s")
    runtimes = {
        row.runtime
        for row in rows
        if row.fingerprint == fingerprint and row.runtime.startswith(PUBLISHED)
    }
    found = []
    for runtime in sorted(runtimes):
        try:
            source = Source(fingerprint, runtime)
            found.append(compile_costs(space, table, source, optional=("energy_j",)))
        except TableError:
            continue
    if len(found) > 1:
        named = ", ".join(repr(costs.source.runtime.removeprefix(PUBLISHED)) for costs in found)
        raise TableError(
            f"the table has costs of {space.name} from {named}: import one of them into a table "
            "of its own and give it with --table"
        )
    return found[0] if found else None


def _own_row(file: PublishedFile, row: PublishedRow) -> Cost:
    cells = row.cells

    def refuse(column: str, wanted: str) -> TableError:
        return TableError(
            f"{file.path}, row {row.line}: {column} is {cells[column][:60]!r}, not {wanted}"
        )

    def number(column: str, *, positive: bool = False) -> float:
        try:
            value = float(cells[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0.0 or (positive and value == 0.0):
            raise refuse(column, "a positive number" if positive else "a number of at least 0")
        return value

    def count(column: str) -> int:
        if not (cells[column].isdecimal() and len(cells[column]) <= 12):
            raise refuse(column, "a count")
        return int(cells[column])

    for column, pattern, wanted in (
        ("key", _KEY, "32 hexadecimal digits"),
        ("fingerprint", _FINGERPRINT, "16 hexadecimal digits"),
        ("runtime", _RUNTIME, "a name with a version"),
    ):
        if pattern.fullmatch(cells[column]) is None:
            raise refuse(column, wanted)
    if cells["metric"] not in METRIC_DIMENSIONS:
        raise refuse("metric", f"one of {', '.join(METRIC_DIMENSIONS)}")
    if cells["provenance"] not in _PROVENANCES:
        raise refuse("provenance", f"one of {', '.join(_PROVENANCES)}")
    try:
        taken = datetime.fromisoformat(cells["taken"])
    except ValueError:
        raise refuse("taken", "a time such as 2026-01-31T12:00:00+00:00") from None
    if taken.tzinfo is None:
        raise refuse("taken", "a time with its offset from UTC")
    value, low, high = number("value", positive=True), number("low"), number("high")
    if not low <= value <= high:
        raise refuse("value", f"between {low} and {high}")
    return Cost(
        cells["key"],
        cells["fingerprint"],
        cells["runtime"],
        cells["metric"],
        value,
        low,
        high,
        number("spread"),
        count("repeats"),
        count("outliers"),
        _PROVENANCES[cells["provenance"]],
        cells["taken"],
    )


def _check_space(file: PublishedFile, row: PublishedRow, space: SearchSpace) -> None:
    named = row.cells.get("space", space.name)
    if named != space.name:
        raise TableError(
            f"{file.path}, row {row.line}: space is {named[:60]!r}, asked for was {space.name!r}"
        )


def _block(space: SearchSpace, cell: str) -> int:
    names = [block.name for block in space.blocks]
    if cell in names:
        return names.index(cell)
    choosing = [i for i, block in enumerate(space.blocks) if block.decisions]
    if cell.isdecimal() and len(cell) <= 4 and int(cell) < len(choosing):
        return choosing[int(cell)]
    raise SpaceError(
        f"{space.name} has no block {cell[:60]!r}; it has {', '.join(names)}, and numbers 0 to "
        f"{len(choosing) - 1} for those that choose"
    )


def _choice(space: SearchSpace, block: ChoiceBlock, cells: dict[str, str]) -> tuple[int, ...]:
    by_name = {decision.name: decision for decision in space.decisions}
    decisions = [by_name[name] for name in block.decisions]
    if "choice" in cells:
        return _numbered(block, decisions, cells["choice"])
    arguments = {name: argument for argument, name in block.reads.items()}
    chosen = []
    for decision in decisions:
        columns = [decision.name, arguments.get(decision.name, decision.name)]
        column = next((each for each in columns if each in cells), None)
        if column is None:
            raise SpaceError(
                f"block {block.name!r} reads {decision.name!r}: add that column, or `choice`"
            )
        chosen.append(_option(decision, cells[column]))
    return tuple(chosen)


def _numbered(block: ChoiceBlock, decisions: Sequence[Decision], cell: str) -> tuple[int, ...]:
    if not decisions and not cell:
        return ()
    if len(decisions) == 1:
        return (_option(decisions[0], cell),)
    sides = [len(decision.options) for decision in decisions]
    if cell.isdecimal() and len(cell) <= 9 and int(cell) < math.prod(sides):
        if not sides:
            return ()
        return tuple(int(i) for i in np.unravel_index(int(cell), sides))
    raise SpaceError(
        f"block {block.name!r} has no choice {cell[:60]!r}: 0 to {math.prod(sides) - 1}"
    )


def _option(decision: Decision, cell: str) -> int:
    if cell.isdecimal() and len(cell) <= 3 and int(cell) < len(decision.options):
        return int(cell)
    printed = [str(option) for option in decision.options]
    if cell in printed and not cell.isdecimal():
        return printed.index(cell)
    raise SpaceError(
        f"decision {decision.name!r} has no option {cell[:60]!r}: 0 to {len(printed) - 1} for "
        f"{', '.join(printed)}"
    )
