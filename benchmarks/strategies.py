"""What each strategy finds under hard latency budgets, and whether the budgets are kept.

The space is profiled on this machine's processor first. Every strategy then gets the same budgets,
25 %, 50 % and 75 % of the largest network's predicted latency, and hands over candidates; they are
measured again, as `hwnas search` does, and the first that keeps the budget is the result. All
results are trained alone from scratch in the same way, and judged by test images that no search
and no training saw.

`single-path`, `proxyless` and `proxyless-rl` search with their own supernet for every budget;
`nsga2` searches a supernet trained by `bignas` once for all budgets of a seed (its time is that of
the training and of one search); `random` trains random feasible networks alone, for as long as the
slowest of the others took for that budget, and takes the one with the least validation error.

    python benchmarks/strategies.py [--json] [--quick] [--seeds 3] [--space mbconv-digits]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from report_format import emit, machine, result

from hwnas.costs import CompiledCosts, CostTable
from hwnas.datasets.dataset import Dataset, load_dataset_for
from hwnas.estimators.supernet_estimator import SupernetEstimator
from hwnas.lowering.torch_module import TorchModule
from hwnas.pipeline.choosing import choose
from hwnas.pipeline.profiling import costs_of
from hwnas.profiling import Protocol
from hwnas.search import STRATEGIES, Budget, Budgets, Evaluation, FeasibleFirst, Front, run_search
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.registry import load_gradient_strategy
from hwnas.spaces import get_space
from hwnas.targets import get_target
from hwnas.training.finetuning import train_alone
from hwnas.training.options import TrainingOptions
from hwnas.training.recipes import load_recipe
from hwnas.training.supernet_training import train_supernet

SHARES = (0.25, 0.5, 0.75)
GRADIENT = ("single-path", "proxyless", "proxyless-rl")
METHODS = (*GRADIENT, "nsga2", "random")
EVALUATIONS = 400
ALONE = TrainingOptions(epochs=15)
MEASURE_S = 20.0
QUICK_IMAGES, QUICK_MEASURE_S = 192, 2.0


@dataclass(frozen=True)
class Settings:
    """What every process needs to know.

    Args:
        space: Name of the space.
        table: Cost table with its blocks.
        quick: Whether to train for one epoch only, on few images.
    """

    space: str
    table: Path
    quick: bool

    def costs(self) -> CompiledCosts:
        """Compiled costs of the space."""
        with CostTable(self.table) as table:
            return costs_of(get_space(self.space), get_target("cpu"), table)

    def data(self) -> Dataset:
        """Digits at the side that the space takes; few of them in a quick run."""
        found = load_dataset_for(get_space(self.space), "digits")
        if not self.quick:
            return found
        few = {
            f"{part}_{split}": getattr(found, f"{part}_{split}")[:QUICK_IMAGES]
            for part in ("x", "y")
            for split in ("train", "val", "test")
        }
        return replace(found, **few)

    def options(self, defaults: TrainingOptions) -> TrainingOptions:
        """The method's own options."""
        return replace(defaults, epochs=1) if self.quick else defaults


@dataclass(frozen=True)
class Found:
    """Candidates of one search.

    Args:
        population: `(n, d)`.
        error: `(n,)`, by which the strategy ranks them.
        seconds: Wall time.
    """

    population: np.ndarray
    error: np.ndarray
    seconds: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--space", default="mbconv-digits")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    shares, seeds, space = SHARES, range(arguments.seeds), arguments.space
    if arguments.quick:
        shares, seeds, space = (0.5,), range(1), "mbconv-digits@16"
    print(
        f"{', '.join(METHODS)} on {space}, budgets {shares} of the largest network, "
        f"{len(seeds)} seeds; {machine()}",
        file=sys.stderr,
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(space, Path(folder) / "costs.sqlite", arguments.quick)
        protocol = Protocol(limit_s=8.0) if arguments.quick else Protocol()
        with CostTable(settings.table) as table:
            costs = costs_of(get_space(space), get_target("cpu"), table, protocol=protocol)
        largest = float(costs.cost(costs.space.largest().row()[None])[0, 0])
        with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
            found = explore(settings, shares, seeds, largest, pool)
            chosen = measured(settings, found, largest)
            errors = judged(settings, chosen, pool)
    emit("strategies", summary(found, chosen, errors, largest), arguments.json)


Key = tuple[str, float, int]
"""Method, share of the largest network's latency, seed."""


def explore(
    settings: Settings,
    shares: tuple[float, ...],
    seeds: range,
    largest: float,
    pool: ProcessPoolExecutor,
) -> dict[Key, Found]:
    """Candidates of all searches."""
    begin = time.monotonic()
    several = {seed: pool.submit(by_nsga2, settings, shares, seed, largest) for seed in seeds}
    single = {
        (method, share, seed): pool.submit(by_gradient, settings, method, share * largest, seed)
        for seed in seeds
        for share in shares
        for method in GRADIENT
    }
    found: dict[Key, Found] = {}
    for key, job in single.items():
        found[key] = job.result()
        told(f"{key}: {found[key].seconds:.0f} s", begin)
    for seed, each in several.items():
        for share, one in zip(shares, each.result(), strict=True):
            found["nsga2", share, seed] = one
    slowest = {
        (share, seed): max(found[method, share, seed].seconds for method in METHODS[:-1])
        for share in shares
        for seed in seeds
    }
    last = {
        ("random", share, seed): pool.submit(by_chance, settings, share * largest, seed, seconds)
        for (share, seed), seconds in slowest.items()
    }
    for key, job in last.items():
        found[key] = job.result()
        told(f"{key}: {found[key].seconds:.0f} s, {len(found[key].error)} networks", begin)
    return found


def by_gradient(settings: Settings, method: str, limit: float, seed: int) -> Found:
    """A gradient-based strategy."""
    torch.set_num_threads(1)
    begin = time.monotonic()
    data = settings.data()
    got = gradient_search(
        data,
        settings.costs(),
        Budgets((Budget("latency_s", limit),)),
        method,
        settings.options(load_gradient_strategy(method).defaults),
        rng=np.random.default_rng(seed),
    )
    error = SupernetEstimator(got.supernet, data).ranking(got.population)
    return Found(got.population, error, time.monotonic() - begin)


def by_nsga2(
    settings: Settings, shares: tuple[float, ...], seed: int, largest: float
) -> list[Found]:
    """NSGA-II under every budget, on one supernet."""
    torch.set_num_threads(1)
    begin = time.monotonic()
    data, costs = settings.data(), settings.costs()
    options = settings.options(load_recipe("bignas").defaults)
    trained = train_supernet(costs.space, data, "bignas", options, rng=np.random.default_rng(seed))
    training_s = time.monotonic() - begin
    found = []
    for share in shares:
        begin = time.monotonic()
        estimator = SupernetEstimator(trained.supernet, data)
        budgets = Budgets((Budget("latency_s", share * largest),))
        start = FeasibleFirst(costs.space, cost_of(costs), costs.metrics, budgets)
        strategy = STRATEGIES["nsga2"](
            start, rng=np.random.default_rng([seed, round(100 * share)]), population_size=40
        )
        searched = run_search(
            strategy,
            Evaluation(cost_of(costs), costs.metrics, estimator.ranking, ("error", "latency_s")),
            budgets,
            40 if settings.quick else EVALUATIONS,
            decisions=len(costs.space.decisions),
        )
        front = searched.front
        error = front.objectives[:, front.names.index("error")]
        found.append(Found(front.population, error, training_s + time.monotonic() - begin))
    return found


def by_chance(settings: Settings, limit: float, seed: int, seconds: float) -> Found:
    """Random feasible networks, trained alone until the time is over."""
    torch.set_num_threads(1)
    begin = time.monotonic()
    data, costs = settings.data(), settings.costs()
    rng = np.random.default_rng([seed, 7])
    start = FeasibleFirst(
        costs.space, cost_of(costs), costs.metrics, Budgets((Budget("latency_s", limit),))
    )
    rows, errors = [], []
    for row in endless(start, rng):
        weights = train_alone(
            costs.space, costs.space.architecture(row), data, settings.options(ALONE), rng=rng
        )
        rows.append(row)
        errors.append(error_of(settings, row, weights, data.x_val, data.y_val))
        if time.monotonic() - begin > seconds:
            break
    return Found(np.array(rows), np.array(errors), time.monotonic() - begin)


def endless(space: FeasibleFirst, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Random feasible rows."""
    while True:
        yield from space.sample(32, rng)


def measured(settings: Settings, found: dict[Key, Found], largest: float) -> dict[Key, object]:
    """The choice of every search, after measuring again; one after another."""
    costs, chosen = settings.costs(), {}
    target = get_target("cpu")
    begin = time.monotonic()
    with CostTable(settings.table) as table:
        for index, (key, each) in enumerate(sorted(found.items())):
            budgets = Budgets((Budget("latency_s", key[1] * largest),))
            values = cost_of(costs)(each.population)
            front = Front.of(
                each.population,
                np.column_stack([each.error, values[:, 0]]),
                budgets.violation(values, costs.metrics),
                ("error", "latency_s"),
            )
            chosen[key] = choose(
                front,
                "best",
                costs,
                target,
                budgets,
                protocol=Protocol(limit_s=QUICK_MEASURE_S if settings.quick else MEASURE_S),
                rng=np.random.default_rng(index),
                table=table,
            ).chosen
            told(f"{key} measured", begin)
    return chosen


def judged(
    settings: Settings, chosen: dict[Key, object], pool: ProcessPoolExecutor
) -> dict[Key, float]:
    """Test error of every chosen network after the same training alone."""
    jobs = {
        key: pool.submit(test_error, settings, candidate.architecture, key[2])
        for key, candidate in chosen.items()
    }
    return {key: job.result() for key, job in jobs.items()}


def test_error(settings: Settings, row: list[int], seed: int) -> float:
    """Test error of one network trained alone."""
    torch.set_num_threads(1)
    data, space = settings.data(), get_space(settings.space)
    architecture = space.architecture(np.array(row, np.uint8))
    weights = train_alone(
        space, architecture, data, settings.options(ALONE), rng=np.random.default_rng(100 + seed)
    )
    return error_of(settings, np.array(row, np.uint8), weights, data.x_test, data.y_test)


def error_of(
    settings: Settings, row: np.ndarray, weights: dict, x: np.ndarray, y: np.ndarray
) -> float:
    """Share of wrong images of a network with its own weights."""
    space = get_space(settings.space)
    module = TorchModule(space.network(space.architecture(row)), weights)
    module.eval()
    with torch.no_grad():
        told_as = torch.cat([module(part) for part in torch.split(torch.from_numpy(x), 64)])
    return float((told_as.argmax(1).numpy() != y).mean())


def cost_of(costs: CompiledCosts) -> Callable[[np.ndarray], np.ndarray]:
    """Population to costs in float64."""
    return lambda population: costs.cost(np.ascontiguousarray(population)).astype(np.float64)


def summary(
    found: dict[Key, Found],
    chosen: dict[Key, object],
    errors: dict[Key, float],
    largest: float,
) -> list[dict]:
    """Results of the benchmark: mean over seeds, with the range of the seeds."""
    kept = [candidate.kept for candidate in chosen.values()]
    results = [
        result("budget_kept_share", float(np.mean(kept)), "1", reach=1.0),
        result("largest_latency_s", largest, "s", better="lower"),
    ]
    for method, share in sorted({key[:2] for key in found}):
        keys = [key for key in found if key[:2] == (method, share)]
        name = f"{method.replace('-', '_')}_{round(100 * share)}"
        test = [errors[key] for key in keys]
        latency = [chosen[key].measured["latency_s"].value / (share * largest) for key in keys]
        seconds = [found[key].seconds for key in keys]
        results += [
            result(
                f"error_{name}",
                float(np.mean(test)),
                "1",
                better="lower",
                low=min(test),
                high=max(test),
            ),
            result(f"latency_over_budget_{name}", float(np.mean(latency)), "1", better="lower"),
            result(f"search_s_{name}", float(np.mean(seconds)), "s", better="lower"),
        ]
    return results


def told(text: str, begin: float) -> None:
    """A line of progress."""
    print(f"{text}; {time.monotonic() - begin:.0f} s so far", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
