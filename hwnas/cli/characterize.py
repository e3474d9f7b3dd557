"""`hwnas characterize`: clock and resources of an array on an FPGA, by place and route."""

import re
from dataclasses import asdict

import click

from hwnas.cli.command import command
from hwnas.console import Console

__all__ = ["characterize"]


@command
@click.option("--target", required=True, help="FPGA, such as ecp5_25f, or a device.toml.")
@click.option("--array", metavar="NxN", help="Side of the array; by default the target's own.")
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="How many seeds to place and route with.",
)
@click.option("--again", is_flag=True, help="Also seeds that the table has.")
def characterize(
    console: Console, target: str, array: str | None, seeds: int, again: bool
) -> None:
    """Synthesise, place and route an array; what is known already is not done again."""
    from hwnas.pipeline.characterizing import array_of, characterize_array
    from hwnas.targets import get_target

    wanted = array_of(get_target(target), None if array is None else _side(array))
    with console.progress() as progress:
        found = characterize_array(wanted, range(1, seeds + 1), again=again, progress=progress)
    summary = found.summary
    rows = [
        [
            str(row.seed),
            f"{row.frequency_hz / 1e6:.1f}",
            *(str(count) for count in (row.lut, row.ff, row.dsp, row.bram)),
            row.date,
        ]
        for row in summary.rows
    ]
    name = f"{wanted.side}x{wanted.side} on {wanted.family} {wanted.device}"
    title = (
        f"{name}: {summary.frequency_hz / 1e6:.1f} MHz, the median of seeds; "
        f"{len(found.done)} done now, table: {found.path}"
    )
    result = {
        "target": target,
        "array": f"{wanted.side}x{wanted.side}",
        "frequency_hz": summary.frequency_hz,
        "best_frequency_hz": summary.best_frequency_hz,
        "seeds": summary.seeds,
        "seeds_done": list(found.done),
        "rows": [asdict(row) for row in summary.rows],
        "table": str(found.path),
    }
    columns = ["seed", "MHz", "LUT", "FF", "DSP", "BRAM", "date"]
    console.emit(result, f"{title}\n{console.table('', columns, rows)}")


def _side(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,3})x\1", text)
    if match is None:
        raise click.BadParameter(
            f"{text!r} is no square array; write it like 4x4", param_hint="--array"
        )
    from hwnas.fpga.cycles import LARGEST_SIDE, SMALLEST_SIDE

    side = int(match.group(1))
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise click.BadParameter(
            f"{text}: sides of {SMALLEST_SIDE} to {LARGEST_SIDE} can be made", param_hint="--array"
        )
    return side
