"""`hwnas table`: cost tables between machines and programs."""

from pathlib import Path

import click

from hwnas.cli.command import command
from hwnas.cli.options import table_option
from hwnas.console import Console

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


for _member in (_export, _merge):
    table.add_command(_member)
