import csv
import os
from pathlib import Path

import numpy as np
import pytest

from hwnas.fpga import systolic_cycles

SCALESIM = "accelerators/scalesim.csv"


def scalesim_rows():
    root = os.environ.get("HWNAS_PUBLISHED_DATA") or Path(__file__).parents[4] / "shared/data"
    path = Path(root) / SCALESIM
    if not path.is_file():
        pytest.skip(f"no {SCALESIM}; set HWNAS_PUBLISHED_DATA")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_cycles_without_stalls_are_those_of_scalesim():
    for row in scalesim_rows():
        k, c, r, s, stride = (int(row[name]) for name in ("K", "C", "R", "S", "stride"))
        down = -(-(int(row["Y_padded"]) - r) // stride) + 1  # rounded up, as SCALE-Sim does
        across = -(-(int(row["X_padded"]) - s) // stride) + 1
        array = int(row["array_rows"]), int(row["array_cols"])

        found = systolic_cycles(row["dataflow"], down * across, c * r * s, k, *array)

        assert found - 1 == int(float(row["Total Cycles"])), row["layer"]


@pytest.mark.parametrize(("dataflow", "cycles"), [("os", 71), ("ws", 18), ("is", 19)])
def test_one_tile_takes_its_length_and_the_way_through(dataflow, cycles):
    # 4 pixels, 4 channels on 4 x 4; the sum has 65 terms for `os`, which keeps it in place.
    depth = 65 if dataflow == "os" else 4
    pixels, channels = (8, 4) if dataflow == "ws" else (4, 9) if dataflow == "is" else (4, 4)

    assert systolic_cycles(dataflow, pixels, depth, channels, 4, 4) == cycles


def test_arguments_broadcast():
    found = systolic_cycles("os", np.array([1, 100]), 9, 16, np.array([[4], [8]]), 8)

    assert found.shape == (2, 2)


def test_unknown_dataflows_are_refused():
    with pytest.raises(ValueError, match="no dataflow 'rs'"):
        systolic_cycles("rs", 1, 1, 1, 1, 1)
