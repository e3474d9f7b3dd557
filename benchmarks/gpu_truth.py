"""Predicted against measured latency and energy on a GPU, and how fast a space is profiled there.

For each batch size: profiles the space into a fresh table, predicts networks that the table has
not seen, compiles and measures those. Last, the largest of them as `hwnas export --format aoti`
would hand it over is timed in turns with `torch.compile(mode="max-autotune")` of the same network.
On a machine without a GPU it says so and gives no results.

    python benchmarks/gpu_truth.py [--json] [--quick] [--target nvidia_h200]
        [--space proxyless-mobile] [--batches 1,64] [--networks 40] [--dtype float16]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from report_format import emit, result
from scipy.stats import kendalltau

from hwnas.backends import Executable, MeasuringBackend
from hwnas.costs import CostTable, compile_costs
from hwnas.errors import MeasurementError
from hwnas.lowering import random_weights
from hwnas.profiling import (
    Protocol,
    backend_for,
    find_meter,
    measure_networks,
    profile_space,
    source_of,
    space_anchors,
)
from hwnas.spaces import SearchSpace, get_space
from hwnas.targets import Settings, Target, get_target

REACH_LATENCY, REACH_ENERGY, REACH_PROFILE_S = 0.95, 0.90, 240.0
SEED = 20_000  # apart from the seeds that the profile draws its calibration networks with
ROUNDS = 21  # of the comparison with max-autotune


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small: checks the script only")
    parser.add_argument("--target", default="cuda", help="a device file that fits is better")
    parser.add_argument("--space", default="proxyless-mobile")
    parser.add_argument("--batches", default="1,64")
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--without-export", action="store_true", help="leave out the last part")
    arguments = parser.parse_args()
    space = get_space("mbconv-digits" if arguments.quick else arguments.space)
    networks = 6 if arguments.quick else arguments.networks
    results = []
    for batch in map(int, arguments.batches.split(",")):
        settings = Settings(batch=batch, precision=arguments.dtype, runtime="torch")
        target = get_target(arguments.target).with_settings(settings)
        available = backend_for(target, None).is_available(target)
        if not available.works:
            print(f"skipped: {available.reason}; {available.remedy}", file=sys.stderr)
            break
        print(f"{available.reason}; {target.how}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder, CostTable(Path(folder) / "t") as table:
            results += compare(space, target, table, networks)
        if not arguments.without_export:
            results += against_autotune(space, target)
    emit("gpu_truth", results, arguments.json)


def compare(space: SearchSpace, target: Target, table: CostTable, count: int) -> list[dict]:
    """Profile, predict, measure."""
    assert target.gpu is not None
    suffix = f"batch{target.gpu.batch}"
    backend = backend_for(target, table)
    assert isinstance(backend, MeasuringBackend)
    source = source_of(target, backend)
    rng = np.random.default_rng(SEED)
    begin = time.monotonic()
    profile_space(space, target, table, protocol=Protocol(), rng=rng)
    profile_s = time.monotonic() - begin
    costs = compile_costs(space, table, source, ("latency_s", "energy_j"), optional=("energy_j",))
    population = space.sample(count, rng)
    predicted = costs.cost(population).astype(np.float64)
    executables: dict[str, Executable] = {}
    for number, row in enumerate(population):
        graph = space.network(space.architecture(row))
        executables[str(number)] = backend.compile(graph, random_weights(graph, rng), target)
    found = measure_networks(
        executables,
        target,
        backend,
        protocol=Protocol(limit_s=60.0, interval=0.005),
        rng=rng,
        anchors=space_anchors(space, backend, target, table, source),
    )
    latency = np.array([estimate.value for estimate in found.values()])
    rows = [
        result(f"profile_s_{suffix}", profile_s, "s", reach=REACH_PROFILE_S, better="lower"),
        result(f"median_latency_s_{suffix}", float(np.median(latency)), "s", better="lower"),
        *_scores("latency", suffix, predicted[:, 0], latency, REACH_LATENCY),
    ]
    if "energy_j" not in costs.metrics:
        return rows
    try:
        meter = find_meter(target)
        energy = np.array([meter.energy_of(each).value for each in executables.values()])
    except MeasurementError as error:
        print(f"no energy: {error}", file=sys.stderr)
        return rows
    return [
        *rows,
        result(f"idle_power_w_{suffix}", meter.idle_power_w, "W", better="lower"),
        result(f"median_energy_j_{suffix}", float(np.median(energy)), "J", better="lower"),
        *_scores("energy", suffix, predicted[:, 1], energy, REACH_ENERGY),
    ]


def _scores(
    metric: str, suffix: str, predicted: np.ndarray, measured: np.ndarray, reach: float
) -> list[dict]:
    error = np.abs(predicted / measured - 1.0)
    tau = float(kendalltau(predicted, measured).statistic)
    name = f"{metric}_{{}}_{suffix}".format
    return [
        result(name("within_10pct"), float((error <= 0.1).mean()), "1", reach=reach),
        result(name("within_5pct"), float((error <= 0.05).mean()), "1"),
        result(name("median_error"), float(np.median(error)), "1", better="lower"),
        result(name("kendall_tau"), tau, "1"),
    ]


def against_autotune(space: SearchSpace, target: Target) -> list[dict]:
    """Time of the exported network over that of torch's own best effort, in turns."""
    import torch

    from hwnas.backends.cuda.device_clock import CudaClock
    from hwnas.backends.cuda.torch_programs import tensor_form
    from hwnas.export.aoti_format import inference_module, write_package

    assert target.gpu is not None
    rng = np.random.default_rng(SEED)
    graph = space.network(space.architecture(space.sample(1, rng)[0]))
    form = tensor_form(target.runtime.precision)
    module = inference_module(graph, random_weights(graph, rng), form).cuda()
    shape = (target.gpu.batch, *[int(side) for side in graph.inputs[0].shape][1:])
    x = form.of(torch.randn(shape, device="cuda"))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = write_package(module, x, Path(folder) / "model.pt2")
        package = torch._inductor.aoti_load_package(str(path))
        package(x)
        exported = CudaClock().repeated(lambda: package(x), 1)  # as its run.py does
        tuned = torch.compile(module, mode="max-autotune", fullgraph=True)

        def best_effort(times: int) -> None:
            for _ in range(times):
                tuned(x)

        times = [_seconds(exported), _seconds(best_effort)]
        samples = np.array([[time_once() for time_once in times] for _ in range(ROUNDS)])
    ratio = float(np.median(samples[:, 0] / samples[:, 1]))
    name = f"export_over_max_autotune_batch{target.gpu.batch}"
    return [result(name, ratio, "1", reach=1.0, better="lower")]


def _seconds(run: Callable[[int], None]) -> Callable[[], float]:
    """A function that gives the device's seconds of one run within a queue of runs."""
    import torch

    run(5)  # compiles, tunes and records

    def timed(repeats: int = 20) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run(repeats)
        end.record()
        torch.cuda.synchronize()
        return 1e-3 * begin.elapsed_time(end) / repeats

    return timed


if __name__ == "__main__":
    main()
