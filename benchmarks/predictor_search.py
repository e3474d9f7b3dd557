"""What strategies find in few evaluations, where the error of every architecture is known.

Two tables: NAS-Bench-201 with published test errors on CIFAR-10 after 200 epochs and latencies on
a phone, and all networks of `resnet9@16` with the errors of a supernet on digits and their
multiply-accumulates. A search is a look-up and can be repeated with many seeds. Two objectives,
error and cost, under a hard budget on the cost: the median of the space. After n evaluations:

    regret  percentage points of accuracy between the best network found within the budget and the
            best there is
    volume  hypervolume of error and cost under the budget, as a share of that of the true front

Mean over seeds, and the 95 % interval of the mean. `proposals` chooses at random among what
`predictor-guided` proposes: what the models themselves add is the difference to that.

    python benchmarks/predictor_search.py [--json] [--quick] [--seeds 20] [--device pixel3]

The published tables are `nb201/*.npz` in the folder `$HWNAS_PUBLISHED_DATA`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from published_data import published_folder
from report_format import emit, result

from hwnas.costs import count_costs
from hwnas.estimators.error_table import read_error_table
from hwnas.search import (
    STRATEGIES,
    Budget,
    Budgets,
    Evaluation,
    FeasibleFirst,
    PredictorGuided,
    hypervolume,
    run_search,
)
from hwnas.spaces import Population, SearchSpace, get_space

EVALUATIONS = (50, 100, 150)
RESNETS = Path(__file__).parent / "accuracy/resnet9-digits.csv"
COST = "cost"
POPULATIONS = {  # of each strategy's own kind of population
    "random": 10,
    "regularized-evolution": 30,
    "nsga2": 20,
    "predictor-guided": 10,
    "proposals": 10,
}


class Proposals(PredictorGuided):
    """What predictor-guided search proposes, without a predictor."""

    def _most_promising(self, pool: Population, usable: np.ndarray) -> np.ndarray:
        del usable
        met = np.flatnonzero(self._space.violation(pool) <= 0)
        others = np.setdiff1d(np.arange(len(pool)), met)
        order = np.concatenate((self._rng.permutation(met), others))
        return order[: self._population_size]


class Table:
    """Errors and a cost of all architectures of a space.

    Args:
        space: The space.
        rows: Canonical architectures, `(n, d)`.
        error: `(n,)`.
        cost: `(n,)`, what is limited.
    """

    def __init__(
        self, space: SearchSpace, rows: Population, error: np.ndarray, cost: np.ndarray
    ) -> None:
        self.space, self.rows, self.error, self.cost = space, rows, error, cost
        counts = space.option_counts.astype(np.int64)
        self._weights = np.cumprod(np.concatenate(([1], counts[:-1])))
        self._place = np.full(int(counts.prod()), -1)
        self._place[rows @ self._weights] = np.arange(len(rows))

    def places(self, population: Population) -> np.ndarray:
        """Where canonical rows stand."""
        found = self._place[population @ self._weights]
        assert (found >= 0).all()
        return found


def published_cells(device: str) -> Table:
    """NASBench-201's cells with the latency of a device."""
    folder = published_folder() / "nb201"
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not there: set HWNAS_PUBLISHED_DATA")
    latency = np.load(folder / "latency.npz", allow_pickle=False)
    accuracy = np.load(folder / "accuracy.npz", allow_pickle=False)["cifar10_test"]
    names = [str(name) for name in latency["devices"]]
    if device not in names:
        raise SystemExit(f"no device {device!r}; published: {', '.join(names)}")
    space = get_space("nasbench201")
    rows = latency["arch"].astype(np.uint8)
    kept = np.flatnonzero((space.canonicalise(rows.copy()) == rows).all(axis=1))
    cost = latency["latency_ms"][kept, names.index(device)].astype(np.float64)
    error = 1.0 - 0.01 * accuracy[kept].astype(np.float64)
    return Table(space, np.ascontiguousarray(rows[kept]), error, cost)


def resnets() -> Table:
    """All networks of `resnet9@16` with the errors of a supernet, and their operations."""
    space = get_space("resnet9@16")
    table = read_error_table(RESNETS, space)
    cost = count_costs(space, ("macs",)).cost(table.population)[:, 0].astype(np.float64)
    return Table(space, table.population, table.error, cost)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="checks the script alone")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--device", default="pixel3")
    arguments = parser.parse_args()
    evaluations = EVALUATIONS[:1] if arguments.quick else EVALUATIONS
    seeds = 2 if arguments.quick else arguments.seeds
    tables = {"nb201": published_cells(arguments.device), "resnet9": resnets()}
    results = [
        entry
        for label, table in tables.items()
        for entry in compared(label, table, evaluations, seeds)
    ]
    emit("predictor_search", results, arguments.json)


def compared(label: str, table: Table, evaluations: tuple[int, ...], seeds: int) -> list[dict]:
    """Results of all strategies on one table."""
    limit = float(np.median(table.cost))
    met = table.cost <= limit
    best = float(table.error[met].min())
    reference = (float(table.error.max()), limit)
    whole = hypervolume(np.stack((table.error[met], table.cost[met]), axis=1), reference)
    results = []
    for name in POPULATIONS:
        begin = time.perf_counter()
        found = []
        for seed in range(seeds):
            history = searched(table, name, limit, evaluations[-1], seed)
            for count in evaluations:
                rows = history[:count][history[:count, 1] <= limit]
                volume = hypervolume(rows, reference) / whole
                found.append((100.0 * (rows[:, 0].min(initial=1.0) - best), volume))
        seconds = (time.perf_counter() - begin) / seeds
        values = np.array(found).reshape(-1, len(evaluations), 2)
        for place, count in enumerate(evaluations):
            results += [
                mean(f"{label}_{name}_regret_{count}", values[:, place, 0], "points", "lower"),
                mean(f"{label}_{name}_volume_{count}", values[:, place, 1], "1", "higher"),
            ]
        results.append(result(f"{label}_{name}_s", seconds, "s", better="lower"))
    return results


def searched(table: Table, name: str, limit: float, evaluations: int, seed: int) -> np.ndarray:
    """Error and latency of what one search evaluated, in order, `(n, 2)`."""

    def cost(population: Population) -> np.ndarray:
        return table.cost[table.places(population)][:, None]

    budgets = Budgets((Budget(COST, limit),))
    start = FeasibleFirst(table.space, cost, (COST,), budgets)
    made: Callable[..., object] = Proposals if name == "proposals" else STRATEGIES[name]
    strategy = made(start, rng=np.random.default_rng(seed), population_size=POPULATIONS[name])
    found = run_search(
        strategy,
        Evaluation(cost, (COST,), lambda rows: table.error[table.places(rows)], ("error", COST)),
        budgets,
        evaluations,
        decisions=table.rows.shape[1],
    ).history
    places = table.places(found.population)
    return np.stack((table.error[places], table.cost[places]), axis=1)


def mean(name: str, values: np.ndarray, unit: str, better: str) -> dict[str, object]:
    """A mean over seeds with its 95 % interval."""
    reach = 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    centre = float(values.mean())
    interval = [round(centre - reach, 5), round(centre + reach, 5)]
    return result(name, centre, unit, better=better, interval=interval)


if __name__ == "__main__":
    main()
