"""The run directory: all that a search leaves behind, in files that a killed run cannot break.

    run.json         what was asked, on what, with which versions: `RunRecord`
    history.parquet  every evaluated architecture: `HistoryTable`
    front.csv        the front: `FrontMember`, one a line
    chosen.json      the network that was handed over, predicted and measured: `ChosenRecord`
    search.npz       state of the search, from which it resumes exactly
    supernet.pt      shared weights, written by who trains them
    log.txt          the log

A file is written beside its place, synced, and moved there: at any moment each file is either the
old one or the new one. Reading trusts nothing: sizes are checked before reading, JSON is decoded
into typed records, unknown fields are refused, and nothing is ever unpickled.

In JSON a number that is not finite is `null`; read back it is None. In `front.csv` it is an empty
cell. In `history.parquet` it stands as it is: the error of an architecture that broke a budget was
never asked for and is NaN, and its violation may be infinite.
"""

import csv
import errno
import io
import os
import platform
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Self, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hwnas.errors import RunError
from hwnas.search.checkpoint import State, load_state, save_state
from hwnas.search.front import Front
from hwnas.search.search_loop import History

__all__ = [
    "SCHEMA_VERSION",
    "Candidate",
    "ChosenRecord",
    "CostFigure",
    "ErrorRecord",
    "FrontMember",
    "HistoryTable",
    "Provenance",
    "RunDirectory",
    "RunRecord",
    "TargetRecord",
    "installed_versions",
]

SCHEMA_VERSION = 1
ERROR = "error"
_PACKAGES = ("numpy", "torch", "onnxruntime", "hwnas")
_LARGEST_BYTES = {
    "run.json": 1 << 20,
    "chosen.json": 1 << 24,
    "front.csv": 1 << 26,
    "history.parquet": 1 << 30,
}
_LARGEST_HISTORY_BYTES = 1 << 32  # unpacked

Provenance = Literal["measured", "simulated", "modelled", "published"]
Option = Annotated[int, msgspec.Meta(ge=0, le=254)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Floats = npt.NDArray[np.float64]
Record = TypeVar("Record", bound=msgspec.Struct)


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record whose unknown fields are refused."""


class TargetRecord(_Strict, frozen=True):
    """The device, as far as a reader needs it.

    Args:
        name: Name of the target.
        fingerprint: 16 hexadecimal digits over all that decides a measured number.
        description: One line.
        threads: Threads that a network ran on.
    """

    name: str
    fingerprint: str
    description: str
    threads: Annotated[int, msgspec.Meta(ge=1)]


class RunRecord(_Strict, frozen=True):
    """`run.json`.

    Args:
        schema: Version of the run directory's format.
        hwnas_version: Who wrote it.
        created: UTC, ISO 8601.
        arguments: What was asked; a run is resumed only with the same.
        versions: Of Python and the packages that decide numbers.
        target: The device.
        seed: Of all random draws.
        state: Whether the run came to its end.
        timings_s: Stage to wall time in s, summed over resumed runs.
        provenance: Column of the history, such as `error` or `latency_s`, to where it comes from.
    """

    schema: int
    hwnas_version: str
    created: str
    arguments: dict[str, Any]
    versions: dict[str, str]
    target: TargetRecord
    seed: int
    state: Literal["running", "finished"] = "running"
    timings_s: dict[str, float] = {}
    provenance: dict[str, Provenance] = {}


class CostFigure(_Strict, frozen=True, omit_defaults=True):
    """One cost and how surely it is known, in the SI unit of its metric.

    Args:
        value: Median; None if it is not finite.
        provenance: Where it comes from.
        low: Lower end of the 95 % interval of the median; None if there is none.
        high: Upper end.
        spread: Distance between the quartiles of the samples.
        repeats: Samples behind it; None or 0 for a formula.
    """

    value: float | None
    provenance: Provenance
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    repeats: Count | None = None


Figures = dict[str, CostFigure]


class Candidate(_Strict, frozen=True):
    """A network that was built and measured before one was chosen.

    Args:
        architecture: Option indices.
        predicted: Metric to cost.
        measured: Metric to cost.
        kept: Whether all budgets were kept by the measured costs.
    """

    architecture: list[Option]
    predicted: Figures
    measured: Figures
    kept: bool


class ErrorRecord(_Strict, frozen=True):
    """Error of the chosen network, a fraction from 0 to 1; None where it was not evaluated.

    Args:
        validation: On images that the search could see.
        test: On images that nothing saw before.
        validation_images: How many.
        test_images: How many.
    """

    validation: float | None = None
    test: float | None = None
    validation_images: Count | None = None
    test_images: Count | None = None


class ChosenRecord(_Strict, frozen=True):
    """`chosen.json`.

    Args:
        pick: How it was picked, such as `knee`.
        architecture: Option indices.
        options: The same by decision name.
        predicted: Metric to cost.
        measured: Metric to cost; empty if nothing was measured.
        budgets: Metric to upper limit, in SI units.
        budget_kept: Whether the chosen network keeps them.
        error: Validation and test error.
        candidates: What was measured, in the order in which it was tried.
        schema: Version of the run directory's format.
    """

    pick: str
    architecture: list[Option]
    options: dict[str, Any]
    predicted: Figures
    measured: Figures
    budgets: dict[str, float]
    budget_kept: bool
    error: ErrorRecord
    candidates: list[Candidate] = []
    schema: int = SCHEMA_VERSION


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


class RunDirectory:
    """One folder with one run. Made by `create` or `open`.

    Args:
        path: The folder.
        record: What `run.json` says.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r}, {self.record.state})"

    @classmethod
    def create(
        cls,
        path: Path | str,
        arguments: Mapping[str, Any],
        *,
        target: TargetRecord,
        seed: int,
        provenance: Mapping[str, Provenance] | None = None,
        resume: bool = False,
    ) -> Self:
        """Start a run, or go on with one.

        Args:
            path: The folder; made if missing, otherwise empty.
            arguments: What was asked, as JSON values.
            target: The device.
            seed: Of all random draws.
            provenance: Column of the history to where it comes from.
            resume: Go on with the run that is there, if there is one; a finished one is opened
                as it is.

        Raises:
            RunError: There is a run already and `resume` is not set, the folder holds something
                else, the run is of other arguments, or nothing can be written.
        """
        folder = Path(path)
        if (folder / "run.json").exists():
            if not resume:
                raise RunError(
                    f"{folder} already holds a run: go on with it by --resume, "
                    "or name another folder"
                )
            run = cls.open(folder)
            run.check_resumable(arguments, target=target, seed=seed)
            return run
        with _writing("the run directory", folder):
            folder.mkdir(parents=True, exist_ok=True)
            found = sorted(file.name for file in folder.iterdir() if file.name != "run.json.part")
        if found:
            raise RunError(f"{folder} is not empty ({found[0]}) and no run: name another folder")
        run = cls(
            folder,
            RunRecord(
                SCHEMA_VERSION,
                installed_versions()["hwnas"],
                datetime.now(UTC).isoformat(timespec="seconds"),
                _as_json(arguments),
                installed_versions(),
                target,
                seed,
                provenance=dict(provenance or {}),
            ),
        )
        run._write_json("run.json", run.record)
        return run

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a run that is there.

        Raises:
            RunError: There is no such folder, it is no run, or its `run.json` is malformed or of
                a newer hwnas.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise RunError(f"run directory {folder} does not exist: `hwnas search -o` makes one")
        if not (folder / "run.json").is_file():
            raise RunError(f"{folder} is not a run: it has no run.json")
        return cls(folder, _read_json(folder, "run.json", RunRecord))

    def check_resumable(
        self, arguments: Mapping[str, Any], *, target: TargetRecord, seed: int
    ) -> None:
        """Make sure that going on gives what an unbroken run would have given.

        Raises:
            RunError: An argument, the seed or the target differs; the first one is named.
        """
        before = {**self.record.arguments, "seed": self.record.seed}
        now = {**_as_json(arguments), "seed": seed}
        before["target fingerprint"] = self.record.target.fingerprint
        now["target fingerprint"] = target.fingerprint
        for name in (*before, *now):
            if name not in now or name not in before or before[name] != now[name]:
                was, is_now = (_shown(values, name) for values in (before, now))
                raise RunError(
                    f"{self.path} was started with {name} {was}, now it is {is_now}: "
                    "resume with the same arguments, or name another folder"
                )

    # Record ------------------------------------------------------------------------------------

    def add_timing(self, stage: str, seconds: float) -> None:
        """Add to the wall time of a stage; resumed runs add up."""
        total = self.record.timings_s.get(stage, 0.0) + seconds
        self._update(timings_s={**self.record.timings_s, stage: total})

    def set_provenance(self, provenance: Mapping[str, Provenance]) -> None:
        """Say where the columns of the history come from."""
        self._update(provenance={**self.record.provenance, **provenance})

    def finish(self) -> None:
        """Note that the run came to its end."""
        self._update(state="finished")

    def _update(self, **changes: Any) -> None:
        record = msgspec.structs.replace(self.record, **changes)
        self._write_json("run.json", record)
        self.record = record

    # Files -------------------------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        """Where the log goes."""
        return self.path / "log.txt"

    @property
    def supernet_path(self) -> Path:
        """Where shared weights are kept."""
        return self.path / "supernet.pt"

    def has(self, name: str) -> bool:
        """Whether the run has that file, such as `front.csv`."""
        return (self.path / name).is_file()

    def write_file(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Replace a file of the run, wholly or not at all.

        Args:
            name: Its name, without a folder.
            write: Called with the open file, such as `lambda file: torch.save(tensors, file)`.

        Raises:
            RunError: The disk is full or the file cannot be written.
        """
        path = self.path / name
        part = path.with_name(f"{name}.part")
        with _writing(name, part):
            part.unlink(missing_ok=True)
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(self.path)

    def write_history(self, history: HistoryTable) -> None:
        """Replace `history.parquet`."""
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
        self.write_file("history.parquet", partial(_write_bytes, buffer.getbuffer()))

    def read_history(self) -> HistoryTable:
        """Read `history.parquet`.

        Raises:
            RunError: It is missing, too large or malformed.
        """
        name = "history.parquet"
        content = _read_bytes(self.path, name)
        try:
            file = pq.ParquetFile(io.BytesIO(content))
            fields = {field.name: field.type for field in file.schema_arrow}
            decisions, metrics = _check_columns(fields, len(file.schema_arrow))
            rows = file.metadata.num_rows
            if rows * (decisions + 8 * (len(metrics) + 3)) > _LARGEST_HISTORY_BYTES:
                raise ValueError(f"it claims {rows} rows of {len(fields)} columns")
            table = file.read()
            if any(column.null_count for column in table.columns):
                raise ValueError("it has empty cells")
            columns = {key: np.asarray(table[key].to_numpy()) for key in fields}
        except (OSError, ValueError, TypeError, KeyError, MemoryError, pa.ArrowException) as error:
            raise _malformed(self.path, name, error) from None
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

    def write_front(self, front: Front, costs: Mapping[str, npt.ArrayLike]) -> None:
        """Replace `front.csv`.

        Args:
            front: The front.
            costs: Metric to `(k,)` costs of the members; may hold more than the objectives.
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
            writer.writerow(
                [i, ";".join(picks.get(i, [])), msgspec.json.encode(row).decode(), *cells]
            )
        self.write_file("front.csv", partial(_write_bytes, text.getvalue().encode()))

    def read_front(self) -> list[FrontMember]:
        """Read `front.csv`.

        Raises:
            RunError: It is missing, too large or malformed.
        """
        name = "front.csv"
        content = _read_bytes(self.path, name)
        try:
            lines = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
            header = next(lines, [])
            metrics = header[4:]
            if header[:4] != ["index", "picks", "architecture", ERROR] or not _distinct(header):
                raise ValueError(f"its columns are {', '.join(header)[:200]}")
            members = [_member(line, metrics) for line in lines]
        except (ValueError, csv.Error, msgspec.DecodeError, RecursionError) as error:
            raise _malformed(self.path, name, error) from None
        if len({len(member.architecture) for member in members}) > 1:
            raise _malformed(self.path, name, "its architectures have different lengths")
        return members

    def write_chosen(self, chosen: ChosenRecord) -> None:
        """Replace `chosen.json`."""
        self._write_json("chosen.json", chosen)

    def read_chosen(self) -> ChosenRecord:
        """Read `chosen.json`.

        Raises:
            RunError: It is missing, too large, malformed, or of a newer hwnas.
        """
        return _read_json(self.path, "chosen.json", ChosenRecord)

    def write_state(self, state: State) -> None:
        """Replace `search.npz`: arrays, numbers and strings by name."""
        path = self.path / "search.npz"
        with _writing("search.npz", path.with_name("search.npz.part")):
            save_state(path, state)
            _sync_folder(self.path)

    def read_state(self) -> State:
        """Read `search.npz`.

        Raises:
            RunError: It is missing, too large or malformed.
        """
        try:
            return load_state(self.path / "search.npz")
        except (zlib.error, NotImplementedError, RuntimeError, MemoryError) as error:
            if isinstance(error, RunError):
                raise
            raise _malformed(self.path, "search.npz", error) from None

    # Private -----------------------------------------------------------------------------------

    def _write_json(self, name: str, record: msgspec.Struct) -> None:
        content = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
        self.write_file(name, partial(_write_bytes, content))


def installed_versions() -> dict[str, str]:
    """Versions of Python and the packages that decide numbers; imports none of them."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


class _Versioned(msgspec.Struct):
    schema: int


def _read_json(folder: Path, name: str, kind: type[Record]) -> Record:
    content = _read_bytes(folder, name)
    try:
        schema = msgspec.json.decode(content, type=_Versioned).schema
        if schema == SCHEMA_VERSION:
            return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(folder, name, error) from None
    advice = "install a newer hwnas" if schema > SCHEMA_VERSION else "start afresh"
    raise RunError(
        f"{folder / name} has schema {schema}, this hwnas reads {SCHEMA_VERSION}: {advice}"
    )


def _read_bytes(folder: Path, name: str) -> bytes:
    path, largest = folder / name, _LARGEST_BYTES[name]
    try:
        with path.open("rb") as file:
            # One byte more than allowed tells a file that is too large, whatever stat says.
            content = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
    except FileNotFoundError:
        raise RunError(f"{folder} has no {name}: the run did not come that far") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > largest:
        raise RunError(f"{path} has more than {largest} bytes: hwnas did not write it")
    return content


def _malformed(folder: Path, name: str, why: object) -> RunError:
    text = " ".join(str(why).split())[:300]
    return RunError(f"{folder / name} is malformed ({text}): restore it or start afresh")


@contextmanager
def _writing(what: str, part: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line, and leave no half-written file."""
    try:
        yield
    except BaseException as error:
        if part.name.endswith(".part"):
            with _ignored():
                part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"the disk is full: {what} could not be written in {part.parent}; everything "
                "written before is intact: free some space and go on with --resume"
            ) from error
        raise RunError(
            f"cannot write {what} in {part.parent}: {error.strerror or error}"
        ) from error


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except OSError:
        return


def _sync_folder(path: Path) -> None:
    """Make a rename last through a power cut, where the system knows how."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_bytes(content: bytes | memoryview, file: BinaryIO) -> None:
    file.write(content)


def _as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they read back."""
    encoded = msgspec.json.encode(dict(arguments), enc_hook=str)
    return msgspec.json.decode(encoded, type=dict[str, Any])


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name])[:80] if name in values else "not given"


def _distinct(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


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


def _picks(front: Front) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    if len(front):
        for which, needed in (("fastest", "latency_s"), ("knee", None), ("best", ERROR)):
            if needed is None or needed in front.names:
                found.setdefault(front.pick(which), []).append(which)
    return found


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
