"""The cost table: one SQLite file of what kernels cost on targets.

A row says which kernel, on which target, with which runtime, by which metric, how much, how
surely, and where the number comes from. The raw samples behind measured rows are kept beside them,
written every few seconds while a profile runs: a killed profile resumes from them.
"""

import csv
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq

from hwnas.costs.schema import DEVICE_STATES, SCHEMA, SCHEMA_VERSION
from hwnas.errors import TableError
from hwnas.graph import Kernel

__all__ = [
    "Cost",
    "CostTable",
    "Provenance",
    "SampleSeries",
    "Source",
    "default_table_path",
]

Provenance = Literal["measured", "simulated", "modelled", "published"]
_PROVENANCES = ("measured", "simulated", "modelled", "published")
_BUSY_TIMEOUT_S = 30.0
_Sample = tuple[int, str, float, float]


@dataclass(frozen=True)
class Source:
    """Where numbers come from: a target and what executes on it."""

    fingerprint: str
    runtime: str


@dataclass(frozen=True)
class Cost:
    """One row.

    Args:
        key: Kernel key.
        fingerprint: Target fingerprint.
        runtime: Name and version of what executed.
        metric: `latency_s`, `energy_j`, ...
        value: Median, in the unit of the metric.
        low: Lower end of the 95 % interval of the median.
        high: Upper end.
        spread: Distance between the quartiles of the samples.
        repeats: Samples behind the value; 0 for a formula.
        outliers: Samples beyond 1.5 spreads from the quartiles; counted and kept.
        provenance: How the number was obtained.
        taken: When, ISO 8601 in UTC.
    """

    key: str
    fingerprint: str
    runtime: str
    metric: str
    value: float
    low: float
    high: float
    spread: float
    repeats: int
    outliers: int
    provenance: Provenance
    taken: str


COST_FIELDS = tuple(field.name for field in fields(Cost))


@dataclass(frozen=True)
class SampleSeries:
    """Raw samples of one profiling session in the order they were taken, arrays of `(n,)`.

    Args:
        session: Number of the session.
        keys: Kernel key of each sample.
        latency_s: By the clock that counts for the target.
        wall_s: By the wall clock.
    """

    session: int
    keys: list[str]
    latency_s: npt.NDArray[np.float64]
    wall_s: npt.NDArray[np.float64]


class CostTable:
    """An open cost table; a context manager.

    Args:
        path: The file; made if missing, with its folder.
        create: Whether a missing file is made.

    Raises:
        TableError: The file is missing, not a cost table, corrupt, or of another version.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        if not create and not path.is_file():
            raise TableError(
                f"no cost table at {path}: run `hwnas profile`, or give another with --table"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)
        except (OSError, sqlite3.Error) as error:
            raise TableError(f"cannot open cost table {path}: {error}") from error
        try:
            with self._translated_errors("open"):
                self._make_or_check()
        except TableError:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def tuning_folder(self, fingerprint: str) -> Path:
        """Where tuning records of a target lie: beside the table, made by who writes them."""
        return self.path.with_suffix(".tuning") / fingerprint

    # Writing -----------------------------------------------------------------------------------

    def put_target(self, fingerprint: str, name: str, description: str) -> None:
        """Note what a fingerprint stands for."""
        with self._transaction("write to") as connection:
            connection.execute(
                "INSERT OR REPLACE INTO target VALUES (?, ?, ?)", (fingerprint, name, description)
            )

    def put(self, costs: Iterable[Cost], kernels: Iterable[Kernel] = ()) -> None:
        """Add or replace rows, all or none.

        Raises:
            TableError: A number is not finite or a provenance is unknown, or the disk is full.
        """
        rows = list(costs)
        for row in rows:
            numbers = (row.value, row.low, row.high, row.spread)
            if not (all(map(math.isfinite, numbers)) and row.provenance in _PROVENANCES):
                raise TableError(f"refused a row of {self.path.name}: {row}")
        with self._transaction("write to") as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO kernel VALUES (?, ?, ?, ?, ?)", map(astuple, kernels)
            )
            marks = ", ".join("?" * len(COST_FIELDS))
            connection.executemany(
                f"INSERT OR REPLACE INTO cost ({', '.join(COST_FIELDS)}) VALUES ({marks})",
                map(astuple, rows),
            )

    def put_networks(self, space: str, keys: Mapping[tuple[int, ...], str]) -> None:
        """Note which measured keys are whole networks of a space, by option indices."""
        rows = [(space, " ".join(map(str, i)), key) for i, key in keys.items()]
        with self._transaction("write to") as connection:
            connection.executemany("INSERT OR REPLACE INTO network VALUES (?, ?, ?)", rows)

    def open_session(self, source: Source, started: str) -> int:
        """Begin a series of samples and give its number."""
        with self._transaction("write to") as connection:
            cursor = connection.execute(
                "INSERT INTO session (fingerprint, runtime, started) VALUES (?, ?, ?)",
                (source.fingerprint, source.runtime, started),
            )
        number = cursor.lastrowid
        assert number is not None  # an INSERT has just succeeded
        return number

    def add_samples(self, session: int, samples: Sequence[_Sample]) -> None:
        """Append raw samples `(position, key, latency_s, wall_s)` of a session."""
        keys = sorted({key for _, key, _, _ in samples})
        with self._transaction("write to") as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO item (key) VALUES (?)", ((key,) for key in keys)
            )
            connection.executemany(
                "INSERT INTO sample SELECT ?, ?, number, ?, ? FROM item WHERE key = ?",
                ((session, at, latency, wall, key) for at, key, latency, wall in samples),
            )

    def add_state(
        self,
        session: int,
        elapsed_s: float,
        numbers: tuple[float | None, float | None, float | None, float | None],
        throttled_by: Sequence[str],
    ) -> None:
        """Note the state of a device during a session.

        Args:
            session: Its number.
            elapsed_s: Since the session began.
            numbers: Clock and memory clock in Hz, temperature in degrees Celsius, power in W; None
                where the device does not tell.
            throttled_by: What keeps the clocks low.
        """
        with self._transaction("write to") as connection:
            connection.execute(DEVICE_STATES)
            connection.execute(
                "INSERT INTO device_state VALUES (?, ?, ?, ?, ?, ?, ?)",
                (session, elapsed_s, *numbers, ", ".join(throttled_by)),
            )

    def merge(self, other: "CostTable") -> int:
        """Take over all rows of another table; of equal rows, the one taken last stays.

        Returns:
            Number of rows taken over.
        """
        mine = {_identity(row): row.taken for row in self.rows()}
        newer = [row for row in other.rows() if row.taken > mine.get(_identity(row), "")]
        with other._translated_errors("read"):
            execute = other._connection.execute
            targets = execute("SELECT fingerprint, name, description FROM target").fetchall()
            networks = execute("SELECT space, indices, key FROM network").fetchall()
        self.put(newer, other.kernels())
        with self._transaction("write to") as connection:
            connection.executemany("INSERT OR REPLACE INTO target VALUES (?, ?, ?)", targets)
            connection.executemany("INSERT OR REPLACE INTO network VALUES (?, ?, ?)", networks)
        return len(newer)

    # Reading -----------------------------------------------------------------------------------

    def rows(self, source: Source | None = None, metric: str | None = None) -> Iterator[Cost]:
        """Rows, sorted by key, target, runtime and metric."""
        wheres, values = _conditions(source)
        if metric is not None:
            wheres.append("metric = ?")
            values.append(metric)
        where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
        query = (
            f"SELECT {', '.join(COST_FIELDS)} FROM cost{where} "
            "ORDER BY key, fingerprint, runtime, metric"
        )
        with self._translated_errors("read"):
            found = self._connection.execute(query, values).fetchall()
        return (Cost(*row) for row in found)

    def lookup(self, source: Source, metric: str) -> dict[str, Cost]:
        """Rows of one source and metric by kernel key."""
        return {row.key: row for row in self.rows(source, metric)}

    def kernels(self) -> Iterator[Kernel]:
        """All kernels, sorted by key."""
        with self._translated_errors("read"):
            found = self._connection.execute(
                "SELECT key, signature, macs, activation_bytes, weight_bytes FROM kernel "
                "ORDER BY key"
            ).fetchall()
        return (Kernel(*row) for row in found)

    def networks(self, space: str) -> dict[tuple[int, ...], str]:
        """Keys of the measured networks of a space by option indices, sorted."""
        with self._translated_errors("read"):
            found = self._connection.execute(
                "SELECT indices, key FROM network WHERE space = ? ORDER BY indices", (space,)
            ).fetchall()
        return {tuple(int(i) for i in indices.split()): key for indices, key in found}

    def samples(self, source: Source) -> list[SampleSeries]:
        """Raw samples of all sessions of a source, in the order they were taken."""
        with self._translated_errors("read"):
            found = self._connection.execute(
                "SELECT session, key, latency_s, wall_s FROM sample "
                "JOIN session ON session.number = session JOIN item ON item.number = item "
                "WHERE fingerprint = ? AND runtime = ? ORDER BY session, position",
                (source.fingerprint, source.runtime),
            ).fetchall()
        sessions: dict[int, list[tuple[str, float, float]]] = {}
        for session, *sample in found:
            sessions.setdefault(session, []).append(tuple(sample))
        series = []
        for session, samples in sessions.items():
            keys, latency, wall = zip(*samples, strict=True)
            series.append(SampleSeries(session, list(keys), np.array(latency), np.array(wall)))
        return series

    # Files of others ---------------------------------------------------------------------------

    def export(self, path: Path) -> int:
        """Write all rows to a `.csv` or `.parquet` file.

        Returns:
            Number of rows.

        Raises:
            TableError: The suffix is neither, or the file cannot be written.
        """
        rows = [astuple(row) for row in self.rows()]
        try:
            if path.suffix == ".csv":
                with path.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.writer(file)
                    writer.writerow(COST_FIELDS)
                    writer.writerows(rows)
            elif path.suffix == ".parquet":
                columns: list[Sequence[object]] = list(zip(*rows, strict=True)) if rows else []
                data = dict(zip(COST_FIELDS, columns or [[]] * len(COST_FIELDS), strict=True))
                pq.write_table(pa.table(data), path)
            else:
                raise TableError(f"cannot export to {path.name!r}: use .csv or .parquet")
        except OSError as error:
            raise TableError(f"cannot write {path}: {error}") from error
        return len(rows)

    # Private -----------------------------------------------------------------------------------

    def _make_or_check(self) -> None:
        execute = self._connection.execute
        names = "SELECT name FROM sqlite_master WHERE type = 'table'"
        if not execute(names).fetchall():
            # All or nothing, and nothing where another process was faster.
            self._connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        found = execute(names).fetchall()
        if ("meta",) not in found or ("cost",) not in found:
            raise TableError(f"{self.path} is an SQLite file but not a cost table")
        row = execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        version = row[0] if row else "none"
        if version != str(SCHEMA_VERSION):
            raise TableError(
                f"{self.path} has schema {version}, this version of hwnas reads {SCHEMA_VERSION}: "
                "make a new table with --table"
            )

    @contextmanager
    def _transaction(self, action: str) -> Iterator[sqlite3.Connection]:
        with self._translated_errors(action), self._connection:
            yield self._connection

    @contextmanager
    def _translated_errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
                advice = "free some space and run the command again; rows written before are safe"
            elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
                advice = "it cannot be written here; give another with --table"
            elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                advice = "another hwnas is writing to it; wait, or give another with --table"
            else:
                advice = "the file may be damaged; move it away or give another with --table"
            raise TableError(
                f"cannot {action} cost table {self.path}: {error}; {advice}"
            ) from error


def default_table_path() -> Path:
    """Where the cost table lives unless `--table` says otherwise: the user's data folder."""
    return Path(platformdirs.user_data_dir("hwnas", appauthor=False)) / "costs.sqlite"


def _identity(row: Cost) -> tuple[str, str, str, str]:
    return row.key, row.fingerprint, row.runtime, row.metric


def _conditions(source: Source | None) -> tuple[list[str], list[str]]:
    if source is None:
        return [], []
    return ["fingerprint = ?", "runtime = ?"], [source.fingerprint, source.runtime]
