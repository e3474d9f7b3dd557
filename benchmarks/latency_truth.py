"""Predicted against measured latency of networks that were not used for fitting.

Profiles each space into a fresh table, predicts random networks from it, then compiles and
measures those networks twice. The second time gives the ceiling: how well a perfect prediction
would do. Through TVM, kernels are tuned first, and the networks are put together from them.

    python benchmarks/latency_truth.py [--json] [--quick] [--networks 60] [--threads 1]
        [--only proxyless|digits|tvm] [--table FILE]
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report_format import emit, result
from scipy.stats import kendalltau

from hwnas.backends import MeasuringBackend, TuningBudget
from hwnas.costs import CostTable, compile_costs
from hwnas.lowering import random_weights
from hwnas.profiling import (
    Protocol,
    backend_for,
    measure_networks,
    profile_space,
    source_of,
    space_anchors,
)
from hwnas.spaces import get_space
from hwnas.targets import get_target


@dataclass(frozen=True)
class Case:
    """What is predicted: a space on a target, so many networks, what is to be reached."""

    space: str
    target: str
    most: int
    reach: dict[str, float]


BLOCKS = {"within_10pct": 0.99, "within_5pct": 0.95, "kendall_tau": 0.93}
CASES = {
    "proxyless": Case("proxyless-mobile@128", "cpu", 1000, BLOCKS),
    "digits": Case("mbconv-digits", "cpu", 1000, BLOCKS),
    "tvm": Case("mbconv-digits", "tvm-cpu", 20, {"within_10pct": 0.9}),
}
QUICK = ("digits",)
INSTANCES = 2  # of every network, in each of the two measurements
TUNING_S = 600.0
SEED = 20_000  # apart from the seeds that the profile draws its calibration networks with


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small: checks the script only")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=CASES, help="one case instead of all")
    parser.add_argument("--table", type=Path, help="keep and reuse the cost table, and its tuning")
    arguments = parser.parse_args()
    networks = 6 if arguments.quick else arguments.networks
    limit_s = 8.0 if arguments.quick else 120.0
    results = []
    chosen = [arguments.only] if arguments.only else QUICK if arguments.quick else CASES
    with tempfile.TemporaryDirectory() as folder:
        for label in chosen:
            path = arguments.table or Path(folder) / f"{label}.sqlite"
            results += compare(label, path, networks, limit_s, arguments.threads)
    emit("latency_truth", results, arguments.json)


def compare(label: str, path: Path, networks: int, limit_s: float, threads: int) -> list[dict]:
    """Profile, predict, measure twice."""
    case = CASES[label]
    count = min(networks, case.most)
    space = get_space(case.space)
    target = get_target(case.target).with_threads(threads)
    rng = np.random.default_rng(SEED)
    population = space.sample(count, rng)
    with CostTable(path) as table:
        backend = backend_for(target, table)
        assert isinstance(backend, MeasuringBackend)
        source = source_of(target, backend)
        profile_space(
            space,
            target,
            table,
            protocol=Protocol(limit_s=limit_s),
            tuning=TuningBudget(limit_s=TUNING_S),
            rng=rng,
        )
        costs = compile_costs(space, table, source, ("latency_s",))
        predicted = costs.cost(population)[:, 0].astype(np.float64)
        measured = []
        for _ in range(2):
            # Compiled anew each time, as whoever deploys it would: where its buffers lie changes a
            # network's latency by about half a percent.
            executables = {}
            for number, row in enumerate(population):
                graph = space.network(space.architecture(row))
                for instance in range(INSTANCES):
                    weights = random_weights(graph, rng)
                    compiled = backend.compile(graph, weights, target)
                    executables[f"{number}.{instance}"] = compiled
            found = measure_networks(
                executables,
                target,
                backend,
                protocol=Protocol(limit_s=limit_s / 2, interval=0.005),
                rng=rng,
                anchors=space_anchors(space, backend, target, table, source),
            )
            values = np.array([estimate.value for estimate in found.values()])
            measured.append(values.reshape(count, INSTANCES).mean(axis=1))
    truth, again = measured
    error = np.abs(predicted / truth - 1.0)
    ceiling = np.abs(again / truth - 1.0)
    rows = {
        "within_10pct": float((error <= 0.10).mean()),
        "within_5pct": float((error <= 0.05).mean()),
        "kendall_tau": float(kendalltau(predicted, truth).statistic),
        "mean_error": float(error.mean()),
        "ceiling_within_10pct": float((ceiling <= 0.10).mean()),
        "ceiling_within_5pct": float((ceiling <= 0.05).mean()),
        "ceiling_kendall_tau": float(kendalltau(again, truth).statistic),
        "ceiling_mean_error": float(ceiling.mean()),
        "calibration_error": costs.calibration[0].error,
    }
    return [
        result(f"{key}_{label}", value, unit="1", reach=case.reach.get(key), better=_better(key))
        for key, value in rows.items()
    ]


def _better(key: str) -> str:
    return "lower" if key.endswith("error") else "higher"


if __name__ == "__main__":
    main()
