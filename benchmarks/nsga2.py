"""How fast hwnas's NSGA-II is, and how good its fronts are, against pymoo's.

The task has the size of a ProxylessNAS search space: 21 blocks with 7 choices each. Latency is a
sum over a random table. The error proxy is another sum, of terms that fall with the block's
latency and so conflict with it, plus a term for each pair of neighbouring blocks, so that blocks
cannot be chosen one at a time. hwnas's native table evaluates it for both.

Speed: one run of many generations of 100 through the public `ask` and `tell`, evaluation included.
Fronts: equal evaluations, the same tables, hypervolume of each final population over ten seeds.
pymoo gets the operators its documentation gives for integer variables; a second comparison gives
it categorical ones, which suit the task better.
"""

import argparse
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from report_format import emit, machine, result

from hwnas._core import SlotTable
from hwnas.search import Nsga2, hypervolume

BLOCKS, CHOICES, POPULATION = 21, 7, 100

Population = np.ndarray
Evaluate = Callable[[Population], np.ndarray]


class Blocks:
    """A space in which every encoding is an architecture."""

    option_counts = np.full(BLOCKS, CHOICES, np.uint8)

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Returns n uniform rows."""
        return rng.integers(CHOICES, size=(n, BLOCKS), dtype=np.uint8)

    def canonicalise(self, population: Population) -> Population:
        """Returns the rows as they are."""
        return population


class Task:
    """Random tables for latency and error; both objectives lie in [0, 1]."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        latency = rng.gamma(2.0, 1.0, (BLOCKS, CHOICES))
        worth = rng.gamma(2.0, 1.0, (BLOCKS, 1))
        error = worth * np.exp(-0.5 * latency) + rng.normal(0.0, 0.1, (BLOCKS, CHOICES))
        pairs = rng.normal(0.0, 0.25, (BLOCKS - 1, CHOICES, CHOICES))
        # One table row for each pair of neighbours: a single gather gives both objectives.
        table = np.zeros((BLOCKS - 1, CHOICES, CHOICES, 2))
        table[..., 0] = latency[:-1, :, None]
        table[-1, :, :, 0] += latency[-1]
        table[..., 1] = error[:-1, :, None] + pairs
        table[-1, :, :, 1] += error[-1]
        low = table.min(axis=(1, 2)).sum(axis=0)
        span = table.max(axis=(1, 2)).sum(axis=0) - low
        table = (table - low / (BLOCKS - 1)) / span
        self._table = SlotTable(
            Blocks.option_counts,
            [[block, block + 1] for block in range(BLOCKS - 1)],
            list(table.reshape(BLOCKS - 1, CHOICES**2, 2)),
            np.zeros(2),
            ["sum", "sum"],
        )

    def __call__(self, population: Population) -> np.ndarray:
        """Returns latency and error, `(n, 2)`."""
        objectives = np.empty((len(population), 2), np.float32)
        self._table.cost(population, objectives)
        return objectives


def run_hwnas(evaluate: Evaluate, seed: int, generations: int) -> np.ndarray:
    """Returns the objectives of the final population."""
    strategy = Nsga2(Blocks(), rng=np.random.default_rng(seed), population_size=POPULATION)
    for _ in range(generations):
        population = strategy.ask()
        strategy.tell(population, evaluate(population))
    return strategy.objectives


def run_pymoo(evaluate: Evaluate, seed: int, generations: int, categorical: bool) -> np.ndarray:
    """Returns the objectives of pymoo's final population."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.crossover.ux import UniformCrossover
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    class Choices(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=BLOCKS, n_obj=2, xl=0, xu=CHOICES - 1, vtype=int)

        def _evaluate(
            self, x: np.ndarray, out: dict[str, np.ndarray], *_: object, **__: object
        ) -> None:
            out["F"] = evaluate(x.astype(np.uint8))

    class OtherOption(Mutation):
        def _do(self, problem: Problem, x: np.ndarray, *_: object, **__: object) -> np.ndarray:
            rng = np.random.default_rng(np.random.SeedSequence((seed, int(x.sum()))))
            change = rng.random(x.shape) < 1 / problem.n_var
            steps = rng.integers(1, CHOICES, size=x.shape)
            return np.where(change, (x + steps) % CHOICES, x)

    if categorical:
        operators = {"crossover": UniformCrossover(prob=0.9), "mutation": OtherOption()}
    else:
        # https://pymoo.org/customization/discrete.html
        operators = {
            "crossover": SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
            "mutation": PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        }
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=IntegerRandomSampling(),
        eliminate_duplicates=True,
        **operators,
    )
    found = minimize(Choices(), algorithm, ("n_gen", generations), seed=seed, verbose=False)
    return np.asarray(found.pop.get("F"))


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Returns the seconds a call takes, by the clock and of this thread's processor time."""
    start, processor_start = time.perf_counter(), time.thread_time()
    run()
    return time.perf_counter() - start, time.thread_time() - processor_start


def speed(generations: int, repeats: int, with_pymoo: bool) -> list[dict[str, object]]:
    """Returns generations a second of both, measured in turns."""
    task = Task(0)
    peer_generations = max(3, generations // 50)
    ours, ours_processor, peers, ratios = [], [], [], []
    if with_pymoo:
        run_pymoo(task, 0, 2, False)  # imports and compiled-module checks happen here
    for seed in range(repeats):
        seconds, processor_s = timed(lambda seed=seed: run_hwnas(task, seed, generations))
        ours.append(generations / seconds)
        ours_processor.append(generations / processor_s)
        if with_pymoo:
            _, peer_s = timed(lambda seed=seed: run_pymoo(task, seed, peer_generations, False))
            peers.append(peer_generations / peer_s)
            ratios.append(ours_processor[-1] / peers[-1])
    found = [
        result(
            "generations_per_s",
            median(ours),
            "1/s",
            reach=5000,
            lowest=min(ours),
            highest=max(ours),
        ),
        result("generations_per_processor_s", median(ours_processor), "1/s"),
    ]
    if with_pymoo:
        found.append(result("pymoo_generations_per_processor_s", median(peers), "1/s"))
        found.append(result("speedup_over_pymoo", median(ratios), "1"))
    return found


def fronts(generations: int, seeds: int) -> list[dict[str, object]]:
    """Returns the median ratio of final hypervolumes over seeds, each with tables of its own."""
    ratios: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(seeds):
        task = Task(seed)
        ours = hypervolume(run_hwnas(task, seed, generations), (1.0, 1.0))
        for categorical, found in ratios.items():
            peer = run_pymoo(task, seed, generations, categorical)
            found.append(ours / hypervolume(peer, (1.0, 1.0)))
    names = {
        False: "hypervolume_ratio_to_pymoo",
        True: "hypervolume_ratio_to_pymoo_categorical",
    }
    return [
        result(names[kind], median(found), "1", reach=1, lowest=min(found), highest=max(found))
        for kind, found in ratios.items()
    ]


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    arguments = parser.parse_args()
    try:
        from pymoo import __version__ as pymoo_version
    except ImportError:
        pymoo_version = None
    print(
        f"hwnas NSGA-II against pymoo {pymoo_version or '(not installed: pip install pymoo)'}: "
        f"{BLOCKS} blocks x {CHOICES} choices, population {POPULATION}, 2 objectives; {machine()}",
        file=sys.stderr,
    )
    generations, repeats, seeds = (50, 1, 1) if arguments.quick else (5000, 5, 10)
    results = speed(generations, repeats, pymoo_version is not None)
    if pymoo_version is not None:
        results += fronts(10 if arguments.quick else 100, seeds)
    emit("nsga2", results, arguments.json)


if __name__ == "__main__":
    main()
