"""The run directory: all that a search leaves behind, in files that a killed run cannot break.

    run.json         what was asked, on what, with which versions: `RunRecord`
    history.parquet  every evaluated architecture: `HistoryTable`
    front.csv        the front: `FrontMember`, one a line
    chosen.json      the network that was handed over, predicted and measured: `ChosenRecord`
    search.npz       state of the search, from which it resumes exactly
    supernet.pt      shared weights, written by who trains them
    training.csv     metrics of every epoch of training; the same as events in tensorboard/
    log.txt          the log

`hwnas train` leaves the same without the files of a search.

A file is written beside its place, synced, and moved there: at any moment each file is either the
old one or the new one (:mod:`hwnas.atomic_files`). Reading trusts nothing: sizes are checked
before reading, JSON is decoded into typed records, unknown fields are refused, and nothing is ever
unpickled. :mod:`hwnas.search.run_records` and :mod:`hwnas.search.run_tables` say how a number that
is not finite is written.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgspec
import numpy.typing as npt

from hwnas.atomic_files import replace_file, translated_disk_errors
from hwnas.errors import RunError
from hwnas.search.checkpoint import State, load_state, save_state
from hwnas.search.front import Front
from hwnas.search.installed_versions import installed_versions
from hwnas.search.run_records import (
    SCHEMA_VERSION,
    ChosenRecord,
    Provenance,
    RunRecord,
    TargetRecord,
    read_record,
    write_record,
)
from hwnas.search.run_tables import (
    FrontMember,
    HistoryTable,
    read_front,
    read_history,
    write_front,
    write_history,
)

__all__ = ["RunDirectory"]


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
        target: TargetRecord | None,
        seed: int,
        provenance: Mapping[str, Provenance] | None = None,
        resume: bool = False,
    ) -> Self:
        """Start a run, or go on with one.

        Args:
            path: The folder; made if missing, otherwise empty.
            arguments: What was asked, as JSON values.
            target: The device; None for a training run.
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
        with translated_disk_errors("the run directory", folder.parent):
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
        write_record(folder / "run.json", run.record)
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
            raise RunError(
                f"run directory {folder} does not exist: `hwnas search -o` or `hwnas train -o` "
                "makes one"
            )
        if not (folder / "run.json").is_file():
            raise RunError(f"{folder} is not a run: it has no run.json")
        return cls(folder, read_record(folder / "run.json", RunRecord))

    def check_resumable(
        self, arguments: Mapping[str, Any], *, target: TargetRecord | None, seed: int
    ) -> None:
        """Make sure that going on gives what an unbroken run would have given.

        Raises:
            RunError: An argument, the seed or the target differs; the first one is named.
        """
        before = {**self.record.arguments, "seed": self.record.seed}
        now = {**_as_json(arguments), "seed": seed}
        for values, device in ((before, self.record.target), (now, target)):
            values["target fingerprint"] = None if device is None else device.fingerprint
        for name in (*before, *now):
            if name not in now or name not in before or before[name] != now[name]:
                was, is_now = (_shown(values, name) for values in (before, now))
                raise RunError(
                    f"{self.path} was started with {name} {was}, now it is {is_now}: "
                    "resume with the same arguments, or name another folder"
                )

    # Record ------------------------------------------------------------------------------------

    @property
    def target(self) -> TargetRecord:
        """The device that was searched for.

        Raises:
            RunError: The run trained a supernet and searched for no device.
        """
        if self.record.target is None:
            raise RunError(
                f"{self.path} holds a trained supernet and no search: "
                f"run `hwnas search --supernet {self.path}` first"
            )
        return self.record.target

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
        write_record(self.path / "run.json", record)
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
            write: Called with the open file, such as `lambda file: file.write(content)`.

        Raises:
            RunError: The disk is full or the file cannot be written.
        """
        replace_file(self.path / name, write)

    def write_history(self, history: HistoryTable) -> None:
        """Replace `history.parquet`."""
        write_history(self.path / "history.parquet", history)

    def read_history(self) -> HistoryTable:
        """Read `history.parquet`.

        Raises:
            RunError: It is missing, too large or malformed.
        """
        return read_history(self.path / "history.parquet")

    def write_front(self, front: Front, costs: Mapping[str, npt.ArrayLike]) -> None:
        """Replace `front.csv`.

        Args:
            front: The front.
            costs: Metric to `(k,)` costs of the members; may hold more than the objectives.
        """
        write_front(self.path / "front.csv", front, costs)

    def read_front(self) -> list[FrontMember]:
        """Read `front.csv`.

        Raises:
            RunError: It is missing, too large or malformed.
        """
        return read_front(self.path / "front.csv")

    def write_chosen(self, chosen: ChosenRecord) -> None:
        """Replace `chosen.json`."""
        write_record(self.path / "chosen.json", chosen)

    def read_chosen(self) -> ChosenRecord:
        """Read `chosen.json`.

        Raises:
            RunError: It is missing, too large, malformed, or of a newer hwnas.
        """
        return read_record(self.path / "chosen.json", ChosenRecord)

    def write_state(self, state: State) -> None:
        """Replace `search.npz`: arrays, numbers and strings by name."""
        save_state(self.path / "search.npz", state)

    def read_state(self) -> State:
        """Read `search.npz`.

        Raises:
            RunError: It is missing, too large or malformed.
        """
        return load_state(self.path / "search.npz")


def _as_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as they read back."""
    encoded = msgspec.json.encode(dict(arguments), enc_hook=str)
    return msgspec.json.decode(encoded, type=dict[str, Any])


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name])[:80] if name in values else "not given"
