"""How well the dataflow model agrees with the program whose accounting it follows.

Rows of MAESTRO (Kwon et al., MICRO 2019; its program of August 2022) for layers of well-known
networks, by dataflow, PEs, bandwidth and hop latency: cycles, accesses of the buffers, and energy
from those counts. Nothing is fitted to them. Rows of dataflows that the model does not have are
left out and counted.

    python benchmarks/dataflow_truth.py [--rows FILE.csv] [--json] [--quick]

Without --rows: accelerators/maestro.csv in the folder HWNAS_PUBLISHED_DATA, or in ../shared/data.
"""

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from published_data import published_folder
from report_format import emit, machine, result
from scipy.stats import spearmanr

from hwnas.accelerators import AcceleratorPoints, DataflowParts, Layers, dataflow_parts
from hwnas.accelerators.layers import DENSE, DEPTHWISE
from hwnas.accelerators.points import DATAFLOWS
from hwnas.accelerators.technology import get_technology

ROWS = Path("accelerators/maestro.csv")
#: A transposed convolution stands in these rows as the convolution with equal products.
KINDS = {"CONV": DENSE, "TRCONV": DENSE, "DSCONV": DEPTHWISE}
#: Count of the model -> column of a row. Accesses of a PE's buffer by products follow from them.
ACCESSES = {
    "input_reads": "in_l2_rd",
    "weight_reads": "w_l2_rd",
    "output_writes": "o_l2_wr",
    "macs": "o_l1_wr",
}
SPEARMAN_REACH, MEDIAN_REACH, P90_REACH = 0.98, 0.05, 0.20
ACCESSES_REACH, ENERGY_REACH = 0.02, 0.05

Row = dict[str, str]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="every tenth row")
    parser.add_argument("--rows", type=Path, help="CSV with the columns of maestro.csv")
    arguments = parser.parse_args()
    path = arguments.rows or published_folder() / ROWS
    if not path.is_file():
        sys.exit(f"{path} does not exist: give --rows FILE.csv, or set HWNAS_PUBLISHED_DATA")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    known = [row for row in rows if row["dataflow"] in DATAFLOWS and row["type"] in KINDS]
    left = Counter((row["dataflow"], row["type"]) for row in rows) - Counter(
        (row["dataflow"], row["type"]) for row in known
    )
    print(
        f"comparing {len(known)} of {len(rows)} rows; left out: {dict(left) or 'none'}; "
        f"{machine()}",
        file=sys.stderr,
    )
    emit("dataflow_truth", compare(known[:: 10 if arguments.quick else 1]), arguments.json)


def compare(rows: list[Row]) -> list[dict[str, object]]:
    """Errors of cycles by dataflow, and of accesses and energy over all rows."""
    parts = [modelled(row) for row in rows]
    results = []
    for dataflow in DATAFLOWS:
        chosen = [i for i, row in enumerate(rows) if row["dataflow"] == dataflow]
        if len(chosen) > 1:
            cycles = np.array([float(parts[i].cycles[0, 0]) for i in chosen])
            reference = np.array([float(rows[i]["cycles"]) for i in chosen])
            results += cycle_results(dataflow, cycles, reference)
    counts = [
        abs(int(getattr(part, name)[0, 0]) / int(row[column]) - 1.0)
        for row, part in zip(rows, parts, strict=True)
        for name, column in ACCESSES.items()
        if int(row[column])
    ]
    energies = [
        abs(energy_nj(part) / float(row["energy_nJ_mac_l1l2"]) - 1.0)
        for row, part in zip(rows, parts, strict=True)
    ]
    for name, errors, reach in (
        ("accesses", counts, ACCESSES_REACH),
        ("energy", energies, ENERGY_REACH),
    ):
        results.append(
            result(
                f"median_error_{name}",
                float(np.median(errors)),
                "1",
                better="lower",
                reach=reach,
                p90=float(np.percentile(errors, 90)),
                largest=float(np.max(errors)),
            )
        )
    return results


def cycle_results(
    dataflow: str, cycles: np.ndarray, reference: np.ndarray
) -> list[dict[str, object]]:
    """What is promised for one dataflow."""
    errors = np.abs(cycles / reference - 1.0)
    return [
        result(
            f"spearman_cycles_{dataflow}",
            float(spearmanr(cycles, reference).statistic),
            "1",
            reach=SPEARMAN_REACH,
            rows=len(cycles),
        ),
        result(
            f"median_error_cycles_{dataflow}",
            float(np.median(errors)),
            "1",
            better="lower",
            reach=MEDIAN_REACH,
        ),
        result(
            f"p90_error_cycles_{dataflow}",
            float(np.percentile(errors, 90)),
            "1",
            better="lower",
            reach=P90_REACH,
            largest=float(errors.max()),
            equal_share=float(np.mean(cycles == reference)),
        ),
    ]


def modelled(row: Row) -> DataflowParts:
    """The model's counts for the layer and accelerator of one row."""
    sizes = [int(row[name]) for name in ("K", "C", "R", "S", "OY", "OX", "stride", "stride")]
    layer = Layers(np.array([[KINDS[row["type"]], 1, *sizes]], dtype=np.int32), (row["layer"],))
    point = AcceleratorPoints.of(
        [row["dataflow"]],
        int(row["pes"]),
        int(row["noc_bw_elem_per_cycle"]),
        hop_latency=int(row["noc_hop_latency"]),
        l1_bytes=0,
        l2_bytes=0,
    )
    return dataflow_parts(layer, point)


def energy_nj(part: DataflowParts) -> float:
    """Energy by the reference's units of that year."""
    energy = get_technology("maestro2022").energy
    return 1e9 * float(
        energy.mac_j * part.macs[0, 0]
        + energy.l1_j_per_byte * part.l1_accesses[0, 0]
        + energy.l2_j_per_byte * part.l2_accesses[0, 0]
    )


if __name__ == "__main__":
    main()
