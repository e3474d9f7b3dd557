"""How many architectures a second are costed, and how exactly.

2^20 random architectures, two metrics, one thread, through `CompiledCosts.cost` on a `uint8` array
with the result array reused: `proxyless-mobile`, where each block depends on one decision, and
`ofa-mbv3`, where blocks depend on several. The costs are those of the target `simulated`; speed
does not depend on the values. NumPy fancy indexing and a plain Python sum over the same slots run
in turns with it.

    python benchmarks/costing.py [--json] [--quick] [--rounds 15]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from report_format import emit, machine, result

from hwnas.backends import get_backend
from hwnas.costs import CompiledCosts, CostTable, compile_costs
from hwnas.profiling import profile_space, source_of
from hwnas.spaces import Population, get_space
from hwnas.targets import get_target

SPACES = {"proxyless-mobile": ("", 200e6), "ofa-mbv3": ("_ofa", 60e6)}
METRICS = ("latency_s", "energy_j")
LARGEST_ERROR = 1e-6


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved runs of each")
    arguments = parser.parse_args()
    n, rounds = (1 << 14, 2) if arguments.quick else (1 << 20, arguments.rounds)
    print(
        f"costing {n} architectures, {len(METRICS)} metrics, one thread, by thread CPU time, "
        f"median of {rounds} interleaved runs; {machine()}",
        file=sys.stderr,
    )
    emit("costing", compare(n, rounds), arguments.json)


def compare(n: int, rounds: int) -> list[dict[str, object]]:
    """Time every way of costing on every space, in turns."""
    rng = np.random.default_rng(0)
    ways: dict[str, tuple[int, Callable[[], object]]] = {}
    errors = {}
    for name, (suffix, _) in SPACES.items():
        costs = compiled(name)
        population = costs.space.sample(n, rng)
        out = np.empty((n, len(METRICS)), np.float32)
        some, few = population[: n // 4], population[: n // 256]
        ways[f"architectures_per_s{suffix}"] = (
            n,
            lambda c=costs, p=population, o=out: c.cost(p, o),
        )
        ways[f"numpy_architectures_per_s{suffix}"] = (
            len(some),
            lambda c=costs, p=some: numpy_costs(c, p),
        )
        ways[f"python_architectures_per_s{suffix}"] = (
            len(few),
            lambda c=costs, p=few: python_costs(c, p),
        )
        exact = python_costs(costs, few)
        errors[f"relative_error{suffix}"] = float(
            np.abs(costs.cost(few).astype(np.float64) / exact - 1.0).max()
        )
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for count, run in ways.values():  # warm: code, tables and result pages
        del count
        run()
    for _ in range(rounds):
        for name, (count, run) in ways.items():
            begin = time.thread_time()
            run()
            rates[name].append(count / (time.thread_time() - begin))
    reach = {f"architectures_per_s{suffix}": least for suffix, least in SPACES.values()}
    found = [
        result(name, median(r), "1/s", reach=reach.get(name), lowest=min(r), highest=max(r))
        for name, r in rates.items()
    ]
    found += [
        result(name, error, "1", better="lower", reach=LARGEST_ERROR)
        for name, error in errors.items()
    ]
    return found


def compiled(name: str) -> CompiledCosts:
    """Costs of a space on the simulated target."""
    space, target = get_space(name), get_target("simulated")
    source = source_of(target, get_backend(target))
    with tempfile.TemporaryDirectory() as folder, CostTable(Path(folder) / "t.sqlite") as table:
        profile_space(space, target, table, rng=np.random.default_rng(0))
        return compile_costs(space, table, source, METRICS)


def numpy_costs(costs: CompiledCosts, population: Population) -> np.ndarray:
    """The same by fancy indexing, one gather a block, `(n, m)`."""
    counts = costs.space.option_counts.astype(np.intp)
    total = np.repeat(costs.constant[None], len(population), axis=0)
    for block, slots in enumerate(costs.slots):
        number = np.zeros(len(population), np.intp)
        for column in costs.space.columns_of(block):
            number = number * counts[column] + population[:, column]
        total += slots[number]
    return total


def python_costs(costs: CompiledCosts, population: Population) -> np.ndarray:
    """The same with plain Python numbers (float64), one architecture after another, `(n, m)`."""
    counts = costs.space.option_counts.tolist()
    blocks = [
        (costs.space.columns_of(block), slots.tolist()) for block, slots in enumerate(costs.slots)
    ]
    constant = costs.constant.tolist()
    totals = []
    for row in population.tolist():
        latency, energy = constant
        for columns, slots in blocks:
            number = 0
            for column in columns:
                number = number * counts[column] + row[column]
            latency += slots[number][0]
            energy += slots[number][1]
        totals.append((latency, energy))
    return np.array(totals)


if __name__ == "__main__":
    main()
