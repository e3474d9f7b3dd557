"""The tables of a run: `history.parquet` is a `HistoryTable`, `front.csv` a list of `FrontMember`.

In `front.csv` a number that is not finite is an empty cell. In `history.parquet` it stands as it
is: the error of an architecture that broke a budget was never asked for and is NaN, and its
violation may be infinite. Reading trusts nothing: sizes, columns and cells are checked.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hwnas.atomic_files import replace_file
from hwnas.search.front import Front
from hwnas.search.run_records import SCHEMA_VERSION, Option
from hwnas.search.search_loop import ERROR, History
from hwnas.search.untrusted_files import malformed, read_bytes

__all__ = [
    "FrontMember",
    "HistoryTable",
    "read_front",
    "read_history",
    "write_front",
    "write_history",
]

_LARGEST_HISTORY_BYTES = 1 << 30
_LARGEST_UNPACKED_BYTES = 1 << 32  # of a history
_LARGEST_FRONT_BYTES = 1 << 26

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HistoryTable:
    """Every evaluated architecture, in order.

    Args:
        generation: `(n,)`, from 0.
        population: `(n, d)` option indices.
        error: `(n,)`; NaN where it was not asked for.
        costs: `(n, c)` in SI units.
        metrics: Names of the c costs.
        violation: `(n,)`, total relative violation of the budgets, 0 where all are met.
    """

    generation: npt.NDArray[np.int32]
    population: npt.NDArray[np.uint8]
    error: Floats
    costs: Floats
    metrics: tuple[str, ...]
    violation: Floats

    @classmethod
    def of(cls, history: History) -> Self:
        """The table of a search's history."""
        names = history.objective_names
        known = ERROR in names
        error = (
            history.objectives[:, names.index(ERROR)] if known else np.full(len(history), np.nan)
        )
        return cls(
            history.generation,
            history.population,
            error,
            history.costs,
            history.metrics,
            history.violation,
        )

    def __len__(self) -> int:
        """How many architectures were evaluated."""
        return len(self.population)


@dataclass(frozen=True)
class FrontMember:
    """One line of `front.csv`.

    Args:
        index: From 0, as `--pick` takes it.
        picks: Names under which `--pick` finds it.
        architecture: Option indices.
        error: Estimated error; NaN if error was no objective.
        costs: Metric to cost in SI units.
    """

    index: int
    picks: tuple[str, ...]
    architecture: tuple[int, ...]
    error: float
    costs: dict[str, float]


def write_history(path: Path, history: HistoryTable) -> None:
    """Replace `history.parquet`.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    columns: dict[str, npt.NDArray[Any]] = {"generation": history.generation}
    columns |= {f"d{i}": column for i, column in enumerate(history.population.T)}
    columns[ERROR] = history.error
    columns |= dict(zip(history.metrics, history.costs.T, strict=True))
    columns["violation"] = history.violation
    table = pa.table({name: np.ascontiguousarray(c) for name, c in columns.items()})
    table = table.replace_schema_metadata({"hwnas.schema": str(SCHEMA_VERSION)})
    # Encoded in memory: what the disk refuses is then an OSError of our own writing.
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    replace_file(path, lambda file: file.write(buffer.getbuffer()))


def read_history(path: Path) -> HistoryTable:
    """Read `history.parquet`.

    Raises:
        RunError: It is missing, too large or malformed.
    """
    content = read_bytes(path, _LARGEST_HISTORY_BYTES)
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        fields = {field.name: field.type for field in file.schema_arrow}
        decisions, metrics = _check_columns(fields, len(file.schema_arrow))
        rows = file.metadata.num_rows
        if rows * (decisions + 8 * (len(metrics) + 3)) > _LARGEST_UNPACKED_BYTES:
            raise ValueError(f"it claims {rows} rows of {len(fields)} columns")
        table = file.read()
        if any(column.null_count for column in table.columns):
            raise ValueError("it has empty cells")
        columns = {key: np.asarray(table[key].to_numpy()) for key in fields}
    except (OSError, ValueError, TypeError, KeyError, MemoryError, pa.ArrowException) as error:
        raise malformed(path, error) from None
    population = np.empty((rows, decisions), np.uint8)
    for i in range(decisions):
        population[:, i] = columns[f"d{i}"]
    costs = np.empty((rows, len(metrics)))
    for i, metric in enumerate(metrics):
        costs[:, i] = columns[metric]
    generation = columns["generation"]
    return HistoryTable(
        generation, population, columns[ERROR], costs, metrics, columns["violation"]
    )


def _check_columns(fields: Mapping[str, pa.DataType], count: int) -> tuple[int, tuple[str, ...]]:
    names = list(fields)
    decisions = 0
    while f"d{decisions}" in fields:
        decisions += 1
    start = decisions + 2
    metrics = tuple(names[start:-1])
    wanted = ["generation", *(f"d{i}" for i in range(decisions)), ERROR, *metrics, "violation"]
    if names != wanted or len(names) != count:
        raise ValueError(f"its columns are {', '.join(names)[:200]}")
    for name, kind in fields.items():
        expected = pa.float64()
        if name == "generation":
            expected = pa.int32()
        elif names.index(name) <= decisions:
            expected = pa.uint8()
        if kind != expected:
            raise ValueError(f"column {name} is {kind}, not {expected}")
    return decisions, metrics


def write_front(path: Path, front: Front, costs: Mapping[str, npt.ArrayLike]) -> None:
    """Replace `front.csv`.

    Args:
        path: The file; its folder exists.
        front: The front.
        costs: Metric to `(k,)` costs of the members; may hold more than the objectives.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    names = front.names
    known = ERROR in names and len(front)
    errors = front.objectives[:, names.index(ERROR)] if known else np.full(len(front), np.nan)
    columns = {metric: np.asarray(column, np.float64) for metric, column in costs.items()}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "picks", "architecture", ERROR, *columns])
    picks = _picks(front)
    for i, row in enumerate(front.population.tolist()):
        numbers = [float(errors[i]), *(float(column[i]) for column in columns.values())]
        cells = [repr(number) if np.isfinite(number) else "" for number in numbers]
        writer.writerow([i, ";".join(picks.get(i, [])), msgspec.json.encode(row).decode(), *cells])
    content = text.getvalue().encode()
    replace_file(path, lambda file: file.write(content))


def _picks(front: Front) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    if len(front):
        for which, needed in (("fastest", "latency_s"), ("knee", None), ("best", ERROR)):
            if needed is None or needed in front.names:
                found.setdefault(front.pick(which), []).append(which)
    return found


def read_front(path: Path) -> list[FrontMember]:
    """Read `front.csv`.

    Raises:
        RunError: It is missing, too large or malformed.
    """
    content = read_bytes(path, _LARGEST_FRONT_BYTES)
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
        header = next(lines, [])
        metrics = header[4:]
        if header[:4] != ["index", "picks", "architecture", ERROR] or _repeats(header):
            raise ValueError(f"its columns are {', '.join(header)[:200]}")
        members = [_member(line, metrics) for line in lines]
    except (ValueError, csv.Error, msgspec.DecodeError, RecursionError) as error:
        raise malformed(path, error) from None
    if len({len(member.architecture) for member in members}) > 1:
        raise malformed(path, "its architectures have different lengths")
    return members


def _repeats(names: Sequence[str]) -> bool:
    return len(set(names)) < len(names)


def _member(line: list[str], metrics: list[str]) -> FrontMember:
    if len(line) != 4 + len(metrics):
        raise ValueError(f"a line has {len(line)} cells, not {4 + len(metrics)}")
    index, picks, architecture, error, *costs = line
    return FrontMember(
        int(index),
        tuple(picks.split(";")) if picks else (),
        tuple(msgspec.json.decode(architecture, type=list[Option])),
        _number(error),
        dict(zip(metrics, map(_number, costs), strict=True)),
    )


def _number(cell: str) -> float:
    value = float(cell or "nan")
    if cell and not np.isfinite(value):
        raise ValueError(f"{cell[:40]!r} is not a finite number")
    return value
