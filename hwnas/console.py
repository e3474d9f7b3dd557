"""What commands show: results on stdout, everything else on stderr.

With `--json` stdout carries one JSON object and nothing else. A progress bar is shown on a
terminal; in a log the same becomes a plain line every few seconds.
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from hwnas.progress import Progress

__all__ = ["Console"]

_PLAIN_LINE_S = 5.0


class Console:
    """Output of one command.

    Args:
        as_json: Whether stdout is for a machine.
        verbosity: 0 warnings, 1 stages, 2 details.
    """

    def __init__(self, *, as_json: bool, verbosity: int) -> None:
        self.as_json = as_json
        level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
        shown = logging.StreamHandler()
        shown.setLevel(level)
        logging.basicConfig(
            level=level, format="%(levelname)s %(name)s: %(message)s", handlers=[shown], force=True
        )

    def log_to(self, path: Path) -> None:
        """Write the log to a file too, stages included."""
        handler = logging.FileHandler(path, encoding="utf-8")
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger("hwnas").addHandler(handler)
        logging.getLogger("hwnas").setLevel(logging.INFO)

    def emit(self, result: dict[str, Any], text: str) -> None:
        """Print a result: the object for a machine, the text for a person."""
        if self.as_json:
            print(msgspec.json.encode(result, enc_hook=str).decode())
        else:
            print(text)

    def note(self, text: str) -> None:
        """Print a line that is no result."""
        print(text, file=sys.stderr)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        """Lay out a table as text."""
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console = RichConsole(width=None if sys.stdout.isatty() else 120)
        with console.capture() as capture:
            console.print(table)
        return capture.get().rstrip("\n")

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar or plain lines, gone or done at the end."""
        if not sys.stderr.isatty():
            yield _PlainLines()
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=RichConsole(stderr=True),
            transient=True,
        )
        with bar:
            task = bar.add_task("starting", total=1.0)
            yield lambda text, share: bar.update(task, description=text, completed=share)


class _PlainLines:
    """One line when the stage changes, and every few seconds in between."""

    def __init__(self) -> None:
        self._stage = ""
        self._shown = 0.0

    def __call__(self, text: str, share: float) -> None:
        stage = text.split(",")[0]
        now = time.monotonic()
        if stage != self._stage or now - self._shown > _PLAIN_LINE_S:
            self._stage, self._shown = stage, now
            print(f"{text} ({100 * share:.0f} %)", file=sys.stderr, flush=True)
