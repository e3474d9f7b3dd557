"""How many layers on accelerators are costed a second, and how long one network takes.

Every layer of ResNet-18 (He et al., CVPR 2016, table 1; 21 layers with the projections) on every
sub-accelerator of the space `accelerator` (three dataflows, 64 to 4,096 PEs, 8 to 64 elements a
cycle), in the technology `phys45`, on one thread. The same by the definition, step by step in
Python, runs in turns with it. The peers need, by their published interfaces on a machine like
this, about 10 ms (MAESTRO, with its start) and 4.7 s (ZigZag) a layer.

    python benchmarks/dataflow.py [--json] [--quick] [--rounds 15]
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from report_format import emit, machine, result

from hwnas.accelerators import (
    AcceleratorPoints,
    Layers,
    dataflow_costs,
    get_technology,
    points_of_options,
)
from hwnas.spaces import get_hardware_space
from hwnas.testing.oracles.dataflow import loop_nest_costs

EVALUATIONS_REACH = 5e6  # 1/s
RESNET18_REACH_US = 20.0
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))  # width, side of the result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved runs of each")
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else arguments.rounds
    layers, points = resnet18(), points_of_options(get_hardware_space("accelerator"))
    print(
        f"costing {len(layers)} layers on {len(points)} accelerators, one thread, by thread CPU "
        f"time, median of {rounds} interleaved runs; {machine()}",
        file=sys.stderr,
    )
    emit("dataflow", compare(layers, points, rounds), arguments.json)


def resnet18() -> Layers:
    """The layers of ResNet-18 for 3 x 224 x 224 images."""
    rows = [("conv1", 64, 3, 7, 112, 2)]
    before = 64
    for stage, (width, side) in enumerate(STAGES, 1):
        for place in range(1, 3):
            stride = 2 if stage > 1 and place == 1 else 1
            name = f"layer{stage}.{place}"
            rows.append((f"{name}.conv1", width, before, 3, side, stride))
            rows.append((f"{name}.conv2", width, width, 3, side, 1))
            if stride == 2:
                rows.append((f"{name}.projection", width, before, 1, side, 2))
            before = width
    rows.append(("fc", 1000, 512, 1, 1, 1))
    table = [(0, 1, k, c, r, r, side, side, st, st) for _, k, c, r, side, st in rows]
    return Layers(np.array(table, dtype=np.int32), tuple(row[0] for row in rows))


def compare(layers: Layers, points: AcceleratorPoints, rounds: int) -> list[dict[str, object]]:
    """Time all of it, in turns."""
    technology = get_technology("phys45")
    one = AcceleratorPoints.of(["dla"], 1024, 64)
    calls = 200
    by_definition = definition_of(layers)

    def network() -> None:
        for _ in range(calls):
            dataflow_costs(layers, one, technology)

    ways: dict[str, Callable[[], object]] = {
        "evaluations_per_s": lambda: dataflow_costs(layers, points, technology),
        "resnet18_us": network,
        "definition_evaluations_per_s": by_definition,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():  # warm: code, tables and result pages
        run()
    for _ in range(rounds):
        for name, run in ways.items():
            begin = time.thread_time()
            run()
            seconds[name].append(time.thread_time() - begin)
    rates = [len(layers) * len(points) / s for s in seconds["evaluations_per_s"]]
    single = [1e6 * s / calls for s in seconds["resnet18_us"]]
    slow = [len(layers) / s for s in seconds["definition_evaluations_per_s"]]
    return [
        result(
            "evaluations_per_s",
            median(rates),
            "1/s",
            reach=EVALUATIONS_REACH,
            lowest=min(rates),
            highest=max(rates),
        ),
        result(
            "resnet18_us",
            median(single),
            "us",
            better="lower",
            reach=RESNET18_REACH_US,
            lowest=min(single),
            highest=max(single),
        ),
        result("definition_evaluations_per_s", median(slow), "1/s"),
        result("evaluations_over_definition", median(rates) / median(slow), "1"),
    ]


def definition_of(layers: Layers) -> Callable[[], object]:
    """The network on one accelerator, step by step in Python."""
    names = ("K", "C", "R", "S", "OY", "OX", "stride_y", "stride_x")
    described = [
        dict(zip(names, row[2:], strict=True), groups=1, depthwise=0)
        for row in layers.table.tolist()
    ]
    return lambda: [loop_nest_costs("dla", layer, 1024, 64, 1) for layer in described]


if __name__ == "__main__":
    main()
