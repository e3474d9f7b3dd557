"""`hwnas report`: a run becomes one page."""

from pathlib import Path

import click

from hwnas.cli.command import command
from hwnas.console import Console

__all__ = ["report"]


@command
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="RUN/report.html by default."
)
def report(console: Console, run: Path, output: Path | None) -> None:
    """Write one self-contained HTML page about a run."""
    from hwnas.report import write_report
    from hwnas.search.run_directory import RunDirectory

    path = write_report(RunDirectory.open(run), output or run / "report.html")
    console.emit({"report": str(path)}, str(path))
