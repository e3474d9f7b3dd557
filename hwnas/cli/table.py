"""`hwnas table`: cost tables between machines and programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwnas.cli.command import command
from hwnas.cli.options import settings_options, table_option
from hwnas.console import Console

if TYPE_CHECKING:
    from hwnas.targets import Settings

__all__ = ["table"]


@click.group()
def table() -> None:
    """Move cost tables between machines and programs."""


@command
@click.argument("file", type=click.Path(path_type=Path))
@table_option
def _export(console: Console, file: Path, table: Path | None) -> None:
    """Write all rows to a .csv or .parquet file."""
    from hwnas.costs import CostTable, default_table_path

    with CostTable(table or default_table_path(), create=False) as opened:
        rows = opened.export(file)
    console.emit({"file": str(file), "rows": rows}, f"{rows} rows written to {file}")


@command
@click.argument("file", type=click.Path(path_type=Path))
@table_option
def _merge(console: Console, file: Path, table: Path | None) -> None:
    """Take over all rows of another table; of equal rows the newer one stays."""
    from hwnas.costs import CostTable, default_table_path

    with (
        CostTable(file, create=False) as other,
        CostTable(table or default_table_path()) as opened,
    ):
        rows = opened.merge(other)
    console.emit({"rows": rows}, f"{rows} rows taken over from {file}")


@command
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--target", help="Device that was measured: a name or a device.toml.")
@settings_options
@click.option("--space", help="Search space whose blocks or networks were measured.")
@click.option("--source", default="", help="Who published it; by default the file's name.")
@click.option("--skip-bad", is_flag=True, help="Leave out and count rows without a latency > 0.")
@table_option
def _import(
    console: Console,
    file: Path,
    target: str | None,
    settings: "Settings",
    space: str | None,
    source: str,
    skip_bad: bool,
    table: Path | None,
) -> None:
    """Take over a published table, a .csv or .csv.gz file.

    Its header tells which of three kinds it is. Latency is in `latency_ms` or `latency_s`; an
    option is its number from 0, or its name as `hwnas spaces NAME` prints it.

    \b
    rows of hwnas  as `hwnas table export` writes them; they keep target and provenance
    blocks         block, choice (or a column a decision), latency
    networks       arch (one option a decision, with blanks between) or a column a
                   decision, latency; block costs are fitted, and the fit's error shown

    Blocks and networks need --target and --space; their rows are marked `published`. A search
    uses them where the target has no measurements of its own.
    """  # noqa: D301 (click's mark of a paragraph to leave as it is)
    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.importing import import_table
    from hwnas.spaces import get_space
    from hwnas.targets import get_target

    path = table or default_table_path()
    with CostTable(path) as opened:
        summary = import_table(
            file,
            opened,
            target=None if target is None else get_target(target).with_settings(settings),
            space=None if space is None else get_space(space),
            source=source,
            skip_bad=skip_bad,
        )
    if summary.bad:
        console.note(f"{len(summary.bad)} bad rows left out, first {summary.bad[0]}")
    if summary.kind != "rows" and summary.rows < summary.blocks:
        missing = summary.blocks - summary.rows
        console.note(
            f"{missing} of {summary.blocks} blocks of {space} are in no row: no search yet"
        )
    text = f"{summary.rows} rows from {file} written to {path}"
    found: dict[str, Any] = {**vars(summary), "table": str(path)}
    if summary.fit is not None:
        fit = {name: value for name, value in vars(summary.fit).items() if name != "blocks"}
        found["fit"] = fit
        text += (
            f"\n{summary.fit.networks} networks as sums of {summary.blocks} blocks: "
            f"{100 * summary.fit.w10:.1f} % within 10 %, R2 {summary.fit.r2:.4f}; left out of the "
            f"fit {100 * summary.fit.left_out_w10:.1f} % within 10 %, error "
            f"{100 * summary.fit.left_out_error:.2g} %"
        )
        if summary.modelled:
            text += f"\n{summary.modelled} blocks are in no network: modelled from operations"
    console.emit(found, text)


for _member in (_export, _import, _merge):
    table.add_command(_member)
