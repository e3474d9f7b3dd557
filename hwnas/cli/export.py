"""`hwnas export`: a network of a run becomes a model file."""

from pathlib import Path

import click

from hwnas.cli.command import command
from hwnas.cli.options import table_option, tracker_option
from hwnas.console import Console

__all__ = ["export"]


@command
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--pick",
    default="chosen",
    show_default=True,
    help="chosen, best, knee, fastest, or an index of front.csv.",
)
@click.option(
    "--format",
    "form",
    default="onnx",
    show_default=True,
    help="aoti, c, onnx, tflite, torch or tvm.",
)
@click.option(
    "--target",
    help="Device that code is for, with --format aoti, tvm or c: a name, a device.toml, or "
    "x86-64, x86-64-v2, x86-64-v3, x86-64-v4, aarch64 for any such machine; the run's by default.",
)
@click.option(
    "--finetune-epochs",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of this network alone: on from inherited weights, or from scratch where there are none.",
)
@table_option
@tracker_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR")
def export(
    console: Console,
    run: Path,
    pick: str,
    form: str,
    target: str | None,
    finetune_epochs: int,
    output: Path,
    table: Path | None,
    seed: int,
) -> None:
    """Write a network of a run as a model file with its receipt."""
    import msgspec

    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.exporting import export_run

    path = table or default_table_path()
    with console.progress() as progress:
        receipt = export_run(
            run,
            output,
            pick=pick,
            format=form,
            target=target,
            finetune_epochs=finetune_epochs,
            table=CostTable(path, create=False) if path.is_file() else None,
            seed=seed,
            progress=progress,
        )
    console.emit(
        msgspec.to_builtins(receipt),
        f"{output / receipt.model} written; it differs from the trained network by at most "
        f"{receipt.numerics.max_abs_difference:.1e} in any logit of "
        f"{receipt.numerics.images} images; receipt: {output / 'receipt.json'}",
    )
