"""Tables that others publish, as CSV files: read as data, checked before anything is believed.

A file is comma-separated text in UTF-8 with a header, as `.csv` or `.csv.gz`. Its size is limited
compressed and uncompressed, every line has as many cells as the header, and a cell is text or a
number and nothing that a spreadsheet would compute.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hwnas.errors import TableError

__all__ = ["PublishedFile", "PublishedRow", "read_published_file"]

_MAX_BYTES = 1 << 28  # of text; a row of a network of 50 decisions has some 200
_MAX_ROWS = 2_000_000
_MAX_COLUMNS = 512
_MAX_CELL = 4096
_CHUNK = 1 << 20
_SECONDS = {"latency_s": 1.0, "latency_ms": 1e-3}
_LARGEST_LATENCY_S = 3600.0
_FORMULA = ("=", "@", "+", "\t", "\r")  # and `-` unless a number follows


@dataclass(frozen=True)
class PublishedRow:
    """One row.

    Args:
        line: Number of the line in the file, the header being 1.
        cells: Column to text, blanks removed.
        latency_s: Latency in s; NaN where the file has no such column.
    """

    line: int
    cells: dict[str, str]
    latency_s: float


@dataclass(frozen=True)
class PublishedFile:
    """A file that was read.

    Args:
        path: Where it lies.
        columns: Its header.
        rows: Good rows in order, at least one.
        bad: What was wrong with rows that were left out.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    bad: tuple[str, ...] = ()


def read_published_file(path: Path, *, skip_bad: bool = False) -> PublishedFile:
    """Read a file and check every latency in it.

    Args:
        path: A `.csv` or `.csv.gz` file.
        skip_bad: Whether rows whose latency is no positive number are counted and left out.

    Raises:
        TableError: The file is missing, too large, not such a file, or has a bad row; the row and
            what it holds are named.
    """
    lines = _lines(path)
    try:
        header = next(lines, None)
        if header is None:
            raise TableError(f"{path} is empty")
        columns = tuple(name.strip() for name in header[1])
        unit = _latency_column(path, columns)
        rows, bad = [], []
        for line, row in lines:
            cells = _cells(path, line, columns, row)
            if cells is None:
                continue
            latency = math.nan
            if unit is not None:
                latency, wrong = _latency(cells[unit], _SECONDS[unit])
                if wrong:
                    bad.append(f"row {line}: {unit} is {wrong}")
                    if not skip_bad:
                        raise TableError(
                            f"{path}, {bad[0]}; a latency is positive and finite (--skip-bad "
                            "leaves such rows out and counts them)"
                        )
                    continue
            rows.append(PublishedRow(line, cells, latency))
            if len(rows) > _MAX_ROWS:
                raise TableError(f"{path} has over {_MAX_ROWS} rows; split it")
    except csv.Error as error:
        raise TableError(f"{path} is no CSV file: {error}") from None
    if not rows:
        raise TableError(f"{path} has no usable row ({len(bad)} bad ones)")
    return PublishedFile(path, columns, tuple(rows), tuple(bad))


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open("rb") as file:
            content = _inflated(path, file)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not text in UTF-8: {error}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for row in reader:
        yield reader.line_num, row


def _inflated(path: Path, file: BinaryIO) -> bytes:
    """The text, read piece by piece: a small file may inflate to more than the memory holds."""
    if path.name.endswith(".csv"):
        source = file
    elif path.name.endswith(".csv.gz"):
        source = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
    else:
        raise TableError(f"cannot import {path.name!r}: give a .csv or .csv.gz file")
    pieces, size = [], 0
    try:
        while piece := source.read(_CHUNK):
            size += len(piece)
            if size > _MAX_BYTES:
                raise TableError(f"{path} holds over {_MAX_BYTES} bytes of text; split it")
            pieces.append(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{path} is not a gzip file: {error}") from None
    return b"".join(pieces)


def _latency_column(path: Path, columns: tuple[str, ...]) -> str | None:
    if len(columns) > _MAX_COLUMNS:
        raise TableError(f"{path} has {len(columns)} columns; {_MAX_COLUMNS} are read")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise TableError(f"{path} has two columns {twice[0][:40]!r}")
    found = [name for name in columns if name in _SECONDS]
    if len(found) > 1:
        raise TableError(f"{path} has latencies both in s and in ms; keep one column")
    return found[0] if found else None


def _cells(
    path: Path, line: int, columns: tuple[str, ...], row: list[str]
) -> dict[str, str] | None:
    """Column to text; None for an empty line."""
    if not row:
        return None
    if len(row) != len(columns):
        raise TableError(f"{path}, row {line}: {len(row)} cells, the header has {len(columns)}")
    cells = {name: cell.strip() for name, cell in zip(columns, row, strict=True)}
    for name, cell in cells.items():
        if len(cell) > _MAX_CELL:
            raise TableError(f"{path}, row {line}: {name} has over {_MAX_CELL} characters")
        if cell.startswith(_FORMULA) or (cell.startswith("-") and not _is_number(cell)):
            raise TableError(f"{path}, row {line}: {name} holds a formula: {cell[:40]!r}")
    return cells


def _latency(cell: str, unit_s: float) -> tuple[float, str]:
    """Latency in s, or what is there instead."""
    if not _is_number(cell):
        return math.nan, f"{cell[:40]!r}, no number"
    value = float(cell) * unit_s
    if not (math.isfinite(value) and 0.0 < value <= _LARGEST_LATENCY_S):
        return math.nan, cell
    return value, ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
