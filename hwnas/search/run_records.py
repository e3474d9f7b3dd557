"""The records of a run: `run.json` is a `RunRecord`, `chosen.json` a `ChosenRecord`.

A file is decoded into typed records, its size is checked before it is read, and unknown fields are
refused. A number that is not finite is `null` in the file; read back it is None.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from hwnas.atomic_files import replace_file
from hwnas.errors import RunError
from hwnas.search.untrusted_files import malformed, read_bytes

__all__ = [
    "SCHEMA_VERSION",
    "Candidate",
    "ChosenRecord",
    "CostFigure",
    "Count",
    "ErrorRecord",
    "Figures",
    "Option",
    "Provenance",
    "RunRecord",
    "TargetRecord",
    "read_record",
    "write_record",
]

SCHEMA_VERSION = 1

Provenance = Literal["measured", "simulated", "modelled", "published"]
Option = Annotated[int, msgspec.Meta(ge=0, le=254)]
Count = Annotated[int, msgspec.Meta(ge=0)]


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
        target: The device; None for a training run, which is of no device.
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
    target: TargetRecord | None
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

    It is one minus the score.

    Args:
        validation: On images that the search could see.
        test: On images that nothing saw before.
        validation_images: How many.
        test_images: How many.
        score: What one minus the error is called.
        rank_share: Where no images were looked at but untrained networks were ranked: the share
            of random networks of the space that this one outdoes.
    """

    validation: float | None = None
    test: float | None = None
    validation_images: Count | None = None
    test_images: Count | None = None
    score: Literal["accuracy", "IoU"] = "accuracy"
    rank_share: float | None = None


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
        not_measured: Why nothing was measured on a device that could be; empty otherwise.
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
    not_measured: str = ""


_LARGEST_BYTES: dict[type[msgspec.Struct], int] = {RunRecord: 1 << 20, ChosenRecord: 1 << 24}
_LARGEST_OTHER_BYTES = 1 << 24

Record = TypeVar("Record", bound=msgspec.Struct)


def write_record(path: Path, record: msgspec.Struct) -> None:
    """Replace `run.json` or `chosen.json`.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    replace_file(path, lambda file: file.write(content))


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read `run.json` or `chosen.json`.

    Args:
        path: The file.
        kind: What it holds.

    Raises:
        RunError: It is missing, too large, malformed, or of a newer hwnas.
    """
    content = read_bytes(path, _LARGEST_BYTES.get(kind, _LARGEST_OTHER_BYTES))
    try:
        schema = msgspec.json.decode(content, type=_Versioned).schema
        if schema == SCHEMA_VERSION:
            return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(path, error) from None
    advice = "install a newer hwnas" if schema > SCHEMA_VERSION else "start afresh"
    raise RunError(f"{path} has schema {schema}, this hwnas reads {SCHEMA_VERSION}: {advice}")


class _Versioned(msgspec.Struct):
    schema: int
