"""Errors of architectures in a file: one row an architecture, its options and its error.

A CSV file begins with notes, lines `# name: text`, which say how the errors were obtained; then
comes a header with the names of the space's decisions and `error`, in any order, and rows with
options as text, such as `16` or `(3, 6)`. Other columns are left alone. A Parquet file has the
same columns, and notes in the metadata of its schema. What is read is data until it is checked:
sizes, columns, options, errors from 0 to 1.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hwnas.atomic_files import replace_file, translated_disk_errors
from hwnas.errors import RunError, SpaceError, TableError
from hwnas.spaces import DecisionSpace, Population

__all__ = ["ERROR", "ErrorLog", "ErrorTable", "read_error_table", "write_error_table"]

ERROR = "error"
_MARK = "#"
_LARGEST_BYTES = 1 << 28
_LARGEST_ROWS = 2_000_000
_LARGEST_COLUMNS = 512
_LARGEST_CELL = 256

Errors = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ErrorTable:
    """Errors of some architectures of a space.

    Args:
        population: Canonical rows, `(n, d)`, each once.
        error: `(n,)`, from 0 to 1.
        notes: Name to text: how the errors were obtained.
    """

    population: Population
    error: Errors
    notes: dict[str, str]


def read_error_table(path: Path, space: DecisionSpace) -> ErrorTable:
    """The errors that a file has for a space.

    Args:
        path: A `.csv` or `.parquet` file.
        space: Whose architectures they are.

    Raises:
        TableError: The file is missing, too large or malformed, is of another space, or gives one
            architecture two errors; what is wrong is named with its row.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > _LARGEST_BYTES:
        raise TableError(f"{path} has over {_LARGEST_BYTES} bytes; give a smaller table")
    if path.suffix == ".parquet":
        notes, columns = _parquet_columns(path, content)
    elif path.suffix == ".csv":
        notes, columns = _csv_columns(path, content)
    else:
        raise TableError(f"cannot read {path.name!r}: give a .csv or .parquet file")
    _check_space(path, space, notes)
    return _checked(path, space, notes, columns)


def write_error_table(
    path: Path,
    space: DecisionSpace,
    population: Population,
    error: Errors,
    notes: Mapping[str, str],
) -> None:
    """Write a `.csv` file, or replace it.

    Args:
        path: The file; its folder exists.
        space: Whose architectures they are.
        population: `(n, d)`.
        error: `(n,)`.
        notes: Name to text of one line: how the errors were obtained.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    text = _head(space, notes, ())
    writer = csv.writer(text, lineterminator="\n")
    for row, value in zip(population.tolist(), error.tolist(), strict=True):
        writer.writerow([*_cells(space, row), repr(value)])
    content = text.getvalue().encode()
    replace_file(path, lambda file: file.write(content))


class ErrorLog(AbstractContextManager["ErrorLog"]):
    """A table that grows by one row at a time and outlives its process.

    Args:
        path: A `.csv` file; what it holds is kept, but for a row that was not written to its end.
        space: Whose architectures they are.
        notes: What a file that is there must say too.
        columns: Names of numbers beside the error.

    Raises:
        RunError: The file is of something else, or cannot be written.
        TableError: It is malformed.
    """

    def __init__(
        self,
        path: Path,
        space: DecisionSpace,
        notes: Mapping[str, str],
        columns: Sequence[str] = (),
    ) -> None:
        self._path, self._space = path, space
        head = _head(space, notes, columns).getvalue().encode()
        if not path.exists():
            replace_file(path, lambda file: file.write(head))
        with translated_disk_errors(path.name, path.parent):
            _cut_to_whole_lines(path)
        self.known = read_error_table(path, space)
        for name, wanted in notes.items():
            if self.known.notes.get(name) != wanted:
                raise RunError(
                    f"{path} is of {name} {self.known.notes.get(name)!r}, asked for {wanted!r}; "
                    "give the same arguments or another file"
                )
        with translated_disk_errors(path.name, path.parent):
            self._file = path.open("ab")

    def add(self, row: npt.ArrayLike, error: float, *more: float) -> None:
        """Append one architecture; it is on the disk when this returns.

        Args:
            row: Option indices, `(d,)`.
            error: Its error.
            more: Numbers for the other columns.

        Raises:
            RunError: The disk is full or the file cannot be written.
        """
        text = io.StringIO()
        indices = [int(index) for index in np.asarray(row)]
        numbers = [repr(float(number)) for number in (error, *more)]
        csv.writer(text, lineterminator="\n").writerow([*_cells(self._space, indices), *numbers])
        with translated_disk_errors(self._path.name, self._path.parent):
            self._file.write(text.getvalue().encode())
            self._file.flush()
            os.fsync(self._file.fileno())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()


def _head(space: DecisionSpace, notes: Mapping[str, str], columns: Sequence[str]) -> io.StringIO:
    text = io.StringIO()
    for name, note in notes.items():
        if "\n" in name + note or "\r" in name + note:
            raise SpaceError(f"note {name!r} of an error table has more than one line")
        text.write(f"{_MARK} {name}: {note}\n")
    names = [decision.name for decision in space.decisions]
    csv.writer(text, lineterminator="\n").writerow([*names, ERROR, *columns])
    return text


def _cells(space: DecisionSpace, row: list[int]) -> list[str]:
    pairs = zip(space.decisions, row, strict=True)
    return [str(decision.options[index]) for decision, index in pairs]


def _cut_to_whole_lines(path: Path) -> None:
    """Take away what a killed process left of its last line."""
    with path.open("r+b") as file:
        content = file.read(_LARGEST_BYTES + 1)
        if not content.endswith(b"\n") and len(content) <= _LARGEST_BYTES:
            file.truncate(content.rfind(b"\n") + 1)


# Reading ---------------------------------------------------------------------------------------

_Columns = dict[str, list[str]]


def _csv_columns(path: Path, content: bytes) -> tuple[dict[str, str], _Columns]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not text in UTF-8: {error}") from None
    notes: dict[str, str] = {}
    lines = io.StringIO(text, newline="")
    begin = lines.tell()
    while (line := lines.readline()).startswith(_MARK):
        name, colon, note = line[len(_MARK) :].partition(":")
        if colon:
            notes[name.strip()] = note.strip()
        begin = lines.tell()
    lines.seek(begin)
    try:
        rows: Iterator[list[str]] = csv.reader(lines, strict=True)
        header = [name.strip() for name in next(rows, [])]
        cells = [row for row in rows if row]
    except csv.Error as error:
        raise TableError(f"{path} is no CSV file: {error}") from None
    _check_size(path, header, len(cells))
    for number, row in enumerate(cells, 1):
        if len(row) != len(header):
            raise TableError(
                f"{path}, row {number}: {len(row)} cells, the header has {len(header)}"
            )
    columns = zip(*cells, strict=True) if cells else ([] for _ in header)
    return notes, {
        name: [cell.strip() for cell in column]
        for name, column in zip(header, columns, strict=True)
    }


def _parquet_columns(path: Path, content: bytes) -> tuple[dict[str, str], _Columns]:
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        names = file.schema_arrow.names
        _check_size(path, names, file.metadata.num_rows)
        given: Mapping[bytes, bytes] = file.schema_arrow.metadata or {}
        notes = {k.decode(errors="replace"): v.decode(errors="replace") for k, v in given.items()}
        columns: _Columns = {}
        for name in names:
            kind = file.schema_arrow.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind):
                continue
            columns[name] = [str(cell) for cell in file.read([name])[name].to_pylist()]
    except (OSError, ValueError, TypeError, KeyError, MemoryError, pa.ArrowException) as error:
        raise TableError(f"{path} is no Parquet file of plain columns: {error}") from None
    return notes, columns


def _check_size(path: Path, header: Sequence[str], rows: int) -> None:
    if len(header) > _LARGEST_COLUMNS or rows > _LARGEST_ROWS:
        raise TableError(
            f"{path} has {len(header)} columns and {rows} rows; {_LARGEST_COLUMNS} and "
            f"{_LARGEST_ROWS} are read"
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TableError(f"{path} has two columns {twice[0][:40]!r}")


def _check_space(path: Path, space: DecisionSpace, notes: Mapping[str, str]) -> None:
    named = notes.get("space", space.name)
    if named.partition("@")[0] != space.name.partition("@")[0]:
        raise TableError(f"{path} is a table of {named[:80]}, not of {space.name}")


def _checked(
    path: Path, space: DecisionSpace, notes: dict[str, str], columns: _Columns
) -> ErrorTable:
    names = [decision.name for decision in space.decisions]
    missing = [name for name in (*names, ERROR) if name not in columns]
    if missing:
        raise TableError(
            f"{path} has no column {missing[0]!r}; a table of {space.name} has "
            f"{', '.join(names)} and {ERROR}"
        )
    count = len(columns[ERROR])
    rows = np.empty((count, len(names)), dtype=np.uint8)
    for place, decision in enumerate(space.decisions):
        known = {str(option): index for index, option in enumerate(decision.options)}
        for number, cell in enumerate(columns[decision.name]):
            if cell not in known:
                raise TableError(
                    f"{path}, row {number + 1}: {decision.name} is {cell[:40]!r}; it is one of "
                    f"{', '.join(known)[:200]}"
                )
            rows[number, place] = known[cell]
    errors = np.array([_error(path, i, cell) for i, cell in enumerate(columns[ERROR], 1)])
    rows = space.canonicalise(rows)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    other = np.flatnonzero(errors != errors[first[inverse.reshape(-1)]])
    if len(other):
        raise TableError(
            f"{path}, row {other[0] + 1}: this architecture has error {errors[other[0]]:g} here "
            "and another one further up"
        )
    kept = np.sort(first)
    return ErrorTable(rows[kept], errors[kept].astype(np.float64), notes)


def _error(path: Path, number: int, cell: str) -> float:
    try:
        value: Any = float(cell) if len(cell) <= _LARGEST_CELL and "_" not in cell else None
    except ValueError:
        value = None
    if value is None or not 0.0 <= value <= 1.0:
        raise TableError(
            f"{path}, row {number}: {ERROR} is {cell[:40]!r}; it is a number from 0 to 1"
        )
    return float(value)
