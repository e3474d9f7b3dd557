"""Metrics of a training run as a table, `training.csv`, and as an event file for TensorBoard."""

import csv
import io
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hwnas.atomic_files import replace_file, translated_disk_errors
from hwnas.errors import RunError

__all__ = ["CSV_NAME", "EVENTS_FOLDER", "MetricsLog"]

CSV_NAME = "training.csv"
EVENTS_FOLDER = "tensorboard"

_EVENT_FILES = "events.out.tfevents.*"  # TensorBoard looks for this name
_FILE_VERSION = "brain.Event:2"  # first record of every event file


class MetricsLog:
    """A log that is whole on disk after every row.

    The table has the column `step` and one for each name, in the order in which they came; what a
    row lacks is an empty cell. Numbers that are not finite are written as `nan`, `inf` and `-inf`;
    in the event file numbers have the precision of float32. The table is replaced with every row:
    the log is meant for a row an epoch, not a row a step.

    Args:
        folder: Where both go; it exists. An earlier log there is replaced.
        rows: What `write` was given before a resume, as pairs of step and values. Both files then
            hold these rows, each once, and no row that a killed run wrote after them; the event
            file has them at the time of the resume.

    Raises:
        RunError: The disk is full or refuses a file, or the steps do not rise.
    """

    def __init__(self, folder: Path, rows: Iterable[tuple[int, Mapping[str, float]]] = ()) -> None:
        self._folder = folder
        self._rows: list[tuple[int, dict[str, float]]] = []
        place = folder / EVENTS_FOLDER
        with translated_disk_errors(EVENTS_FOLDER, folder):
            place.mkdir(exist_ok=True)
            old = sorted(place.glob(_EVENT_FILES))
            new = place / f"events.out.tfevents.{time.time_ns()}.hwnas"
            self._events = _EventFile(new)
        try:
            for step, values in rows:
                self._add(step, values)
            self._sync()
            with translated_disk_errors(EVENTS_FOLDER, folder):
                for file in old:
                    file.unlink()
        except BaseException:  # the earlier log stays as it was
            self.close()
            new.unlink(missing_ok=True)
            raise

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log, whatever happened."""
        self.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row.

        Args:
            step: Larger than that of the row before.
            values: Metrics by name.

        Raises:
            RunError: The disk is full or refuses a file, or the step does not rise.
        """
        self._add(step, values)
        self._sync()

    def close(self) -> None:
        """Close the event file; the log takes no more rows."""
        self._events.close()

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        if self._rows and step <= self._rows[-1][0]:
            raise RunError(
                f"the training log has step {self._rows[-1][0]} and was given step {step}; give "
                "rows in the order of their steps"
            )
        if "step" in values:
            raise RunError("a metric cannot be named 'step'; give it another name")
        row = {name: float(value) for name, value in values.items()}
        self._rows.append((step, row))
        with translated_disk_errors(EVENTS_FOLDER, self._folder):
            self._events.add(step, row)

    def _sync(self) -> None:
        with translated_disk_errors(EVENTS_FOLDER, self._folder):
            self._events.flush()
        names = dict.fromkeys(name for _, row in self._rows for name in row)
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"step": step, **row} for step, row in self._rows)
        replace_file(
            self._folder / CSV_NAME, lambda file: file.write(text.getvalue().encode("utf-8"))
        )


class _EventFile:
    """Records of `tensorboardX`, written at once and not by a thread of their own."""

    def __init__(self, path: Path) -> None:
        # Imported here: it imports torch.
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import RecordWriter

        self._event: Any = Event
        self._summary: Any = Summary
        self._writer: Any = RecordWriter(str(path.absolute()))
        self._write(file_version=_FILE_VERSION)

    def add(self, step: int, row: Mapping[str, float]) -> None:
        values = [self._summary.Value(tag=name, simple_value=row[name]) for name in row]
        self._write(step=step, summary=self._summary(value=values))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, **content: Any) -> None:
        event = self._event(wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())
