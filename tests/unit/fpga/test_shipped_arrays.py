from itertools import groupby
from pathlib import Path
from statistics import median

from hwnas.fpga.characterisation import ArrayRow, shipped_rows

PAGE = Path(__file__).parents[3] / "docs/fpga.md"


def line(rows: list[ArrayRow]) -> str:
    """A row of the page's table: all seeds of one array on one chip."""
    first, clocks = rows[0], [row.frequency_hz / 1e6 for row in rows]
    counts = " | ".join(f"{n:,}" for n in (first.lut, first.ff, first.dsp, first.bram))
    return (
        f"| {first.device} | {first.side}x{first.side} | {median(clocks):.1f} | "
        f"{max(clocks):.1f} | {len(rows)} | {counts} |"
    )


def test_the_page_shows_the_table_that_ships():
    by_array = groupby(shipped_rows(), key=lambda row: (row.device, row.side))
    wanted = [line(list(rows)) for _, rows in by_array]

    lines = PAGE.read_text(encoding="utf-8").splitlines()
    shown = [text for text in lines if text.startswith(("| 25k", "| 85k"))]

    assert shown == wanted, "\n".join(["docs/fpga.md should have", *wanted])
