"""The systolic array: closed form against simulated RTL, clocks, and SCALE-Sim.

200 drawn layers of seven classes of shapes go through the simulated RTL (Verilator where it is
installed, else Yosys' CXXRTL), on arrays of several sides: cycles must be those of the closed
form, outputs those of the NumPy model, bit for bit. A network of `mbconv-digits`, quantised by
ONNX Runtime, goes through it layer by layer and must give ONNX Runtime's own numbers. Clocks are
those of the table that ships, made by place and route; `--place-and-route` makes the two that are
reported again, which takes minutes. Closed forms of the three dataflows are held against
SCALE-Sim's rows in the folder HWNAS_PUBLISHED_DATA, or in ../shared/data.

    python benchmarks/systolic_rtl.py [--json] [--quick] [--layers 200] [--kind cxxrtl]
        [--place-and-route] [--write-golden FILE]
"""

import argparse
import csv
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from published_data import published_folder
from report_format import emit, machine, result

from hwnas.fpga import (
    plan_layers,
    reference_outputs,
    rtl_hash,
    summarise_array,
    systolic_cycles,
)
from hwnas.fpga.drawn_layers import SHAPE_CLASSES, draw_layer, draw_shape
from hwnas.fpga.quantisation import check_on_array, quantise_network
from hwnas.fpga.simulator import ArraySimulator, Kind, simulator_kinds
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.spaces import get_space
from hwnas.targets import get_target

SIDES = (2, 3, 4, 5, 8)
QUICK_SIDES = (2,)
GOLDEN_SIDES = (2, 3, 4)
CLOCKS = {"fmax_4x4_mhz": ("ecp5_25f", 4, 120.0), "fmax_8x8_mhz": ("ecp5_85f", 8, 100.0)}
SCALESIM = "accelerators/scalesim.csv"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--layers", type=int, default=200, help="drawn layers, all sides together")
    parser.add_argument(
        "--place-and-route", action="store_true", help="make the reported clocks anew"
    )
    parser.add_argument("--kind", choices=("verilator", "cxxrtl"), help="what simulates")
    parser.add_argument(
        "--write-golden", type=Path, metavar="FILE", help="results of the RTL for the unit tests"
    )
    arguments = parser.parse_args()
    kinds = (arguments.kind,) if arguments.kind else simulator_kinds()
    if not kinds:
        sys.exit("nothing simulates RTL here: pip install 'hwnas[fpga]', and a C++ compiler")
    sides, layers = (QUICK_SIDES, 14) if arguments.quick else (SIDES, arguments.layers)
    print(
        f"{layers} drawn layers on arrays of sides {sides}, simulated by {kinds[0]}; {machine()}",
        file=sys.stderr,
    )
    if arguments.write_golden:
        write_golden(arguments.write_golden, kinds[0])
    if arguments.place_and_route:
        place_and_route()
    results = [
        *drawn_layers(sides, layers, kinds[0]),
        *network_layers(sides[-1], 3 if arguments.quick else 8, kinds[0]),
        *clocks(),
        *scalesim(),
    ]
    emit("systolic_rtl", results, arguments.json)


def drawn_layers(sides: tuple[int, ...], layers: int, kind: Kind) -> Iterator[dict[str, object]]:
    """Closed form and NumPy model against the simulated RTL."""
    rng = np.random.default_rng(0)
    same_cycles = same_outputs = cycles = 0
    begin = time.perf_counter()
    for side in sides:
        count = layers // len(sides) + (side in sides[: layers % len(sides)])
        with ArraySimulator(side, kind) as simulator:
            for number in range(count):
                shape = draw_shape(SHAPE_CLASSES[number % len(SHAPE_CLASSES)], rng)
                patches, layer = draw_layer(shape, rng)
                found = simulator.run(patches, layer)
                wanted = reference_outputs(patches, layer)
                same_outputs += bool(np.array_equal(found.outputs, wanted))
                same_cycles += found.cycles == int(plan_layers([shape], [side]).cycles[0, 0])
                cycles += found.cycles
    seconds = time.perf_counter() - begin
    details = {"layers": layers, "sides": list(sides), "simulator": kind}
    yield result("cycles_exact_share", same_cycles / layers, "1", reach=1.0, **details)
    yield result("outputs_exact_share", same_outputs / layers, "1", reach=1.0, **details)
    yield result("simulated_cycles_per_s", cycles / seconds, "1/s", building_included=True)


def network_layers(side: int, layers: int, kind: Kind) -> Iterator[dict[str, object]]:
    """First convolutions of a quantised network, against ONNX Runtime."""
    rng = np.random.default_rng(0)
    space = get_space("mbconv-digits")
    graph = space.network(space.smallest())
    model = to_onnx(*fold_batch_norm(graph, random_weights(graph, rng)))
    images = rng.standard_normal((8, 1, 1, 32, 32)).astype(np.float32)
    quantised = quantise_network(model, images)
    with ArraySimulator(side, kind) as simulator:
        checked = check_on_array(quantised, images[0], simulator, layers)
    outputs = sum(each.outputs for each in checked)
    differing = sum(each.differing_from_runtime for each in checked)
    yield result(
        "network_outputs_exact_share",
        1.0 - differing / outputs,
        "1",
        reach=1.0,
        layers=len(checked),
        outputs=outputs,
        side=side,
    )


def clocks() -> Iterator[dict[str, object]]:
    """Median over seeds, from the table of arrays."""
    for name, (target, side, reach) in CLOCKS.items():
        fpga = get_target(target).fpga
        found = summarise_array(msgspec.structs.replace(fpga, side=side))
        if found is None:
            continue
        yield result(
            name,
            found.frequency_hz / 1e6,
            "MHz",
            reach=reach,
            best_mhz=found.best_frequency_hz / 1e6,
            seeds=found.seeds,
            lut=found.rows[0].lut,
            ff=found.rows[0].ff,
            dsp=found.rows[0].dsp,
            bram=found.rows[0].bram,
            tools=f"yosys {found.rows[0].yosys}, nextpnr {found.rows[0].nextpnr}",
            dates=sorted({row.date for row in found.rows}),
        )


def write_golden(path: Path, kind: Kind) -> None:
    """Cycles and a hash of the outputs, two layers of each class and side."""
    runs = []
    for side in GOLDEN_SIDES:
        with ArraySimulator(side, kind) as simulator:
            for seed in range(2 * len(SHAPE_CLASSES)):
                rng = np.random.default_rng(seed)
                shape_class = SHAPE_CLASSES[seed % len(SHAPE_CLASSES)]
                found = simulator.run(*draw_layer(draw_shape(shape_class, rng), rng))
                outputs = hashlib.sha256(found.outputs.tobytes()).hexdigest()[:16]
                run = {"side": side, "class": shape_class, "seed": seed}
                runs.append({**run, "cycles": found.cycles, "outputs": outputs})
    lines = ",\n".join(f"  {json.dumps(run)}" for run in runs)
    path.write_text(f'{{"rtl": "{rtl_hash()}", "runs": [\n{lines}\n]}}\n', encoding="utf-8")


def place_and_route() -> None:
    """One seed of each reported array, into the user's table."""
    from hwnas.pipeline.characterizing import array_of, characterize_array

    for target, side, _ in CLOCKS.values():
        print(f"placing and routing {side}x{side} on {target}", file=sys.stderr)
        characterize_array(array_of(get_target(target), side), [1], again=True)


def scalesim() -> Iterator[dict[str, object]]:
    """Three dataflows, without stalls."""
    path = published_folder() / SCALESIM
    if not path.is_file():
        print(f"{path} does not exist: SCALE-Sim is left out", file=sys.stderr)
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    exact = 0
    for row in rows:
        channels, inputs, high, wide, stride = (
            int(row[c]) for c in ("K", "C", "R", "S", "stride")
        )
        # With stride 2 SCALE-Sim rounds the size of the output up.
        down = -(-(int(row["Y_padded"]) - high) // stride) + 1
        across = -(-(int(row["X_padded"]) - wide) // stride) + 1
        cycles = systolic_cycles(
            row["dataflow"],
            down * across,
            inputs * high * wide,
            channels,
            int(row["array_rows"]),
            int(row["array_cols"]),
        )
        exact += int(float(row["Total Cycles"])) == int(cycles) - 1  # counts from cycle 0
    yield result("scalesim_exact_share", exact / len(rows), "1", reach=1.0, rows=len(rows))


if __name__ == "__main__":
    main()
