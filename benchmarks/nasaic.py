"""Networks and chip searched together: what NASAIC finds within specs, against its baselines.

W1 of the paper (Yang et al., DAC 2020): a ResNet-9 for classification and a U-Net for segmentation
on one chip of two sub-accelerators, 8e5 cycles, 2e9 nJ, 4e9 um2, in the units of the technology
`maestro2020`. Costs are those of images of the paper's size (32 and 128 pixels). Errors are from
tables of trained networks on embedded data (`benchmarks/accuracy/`), so accuracies are not the
paper's: what can be compared is who meets the specs, and at what loss.

The same in `phys45`: there each spec is the quantile among random designs that the spec of W1 is
in `maestro2020`. Nothing is tuned for it.

Toy: 27 networks on 27 chips, made-up errors, each spec the median of all 729 designs; the best
design is known by trying all.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import mean

import numpy as np
from report_format import emit, machine, result

from hwnas.accelerators import get_technology
from hwnas.cosearch import (
    METRICS,
    STRATEGIES,
    CoSearchOptions,
    CostTables,
    DesignEvaluator,
    Problem,
    Specs,
    TaskErrors,
    tabulate_costs,
)
from hwnas.estimators import Estimator
from hwnas.estimators.synthetic import SyntheticEstimator
from hwnas.estimators.tabulated import TabulatedEstimator
from hwnas.spaces import AcceleratorSpace, get_hardware_space, get_space

W1 = "latency=8e5cycles,energy=2e9nJ,area=4e9um2"
SPACES = ("resnet9", "unet")
ACCURACY = Path(__file__).parent / "accuracy"
TABLES = f"{ACCURACY / 'resnet9-digits.csv'},{ACCURACY / 'unet-nuclei.csv'}"
RANDOM_DESIGNS = 4000


class Task:
    """W1 in one technology.

    Args:
        tables: Costs.
        estimators: Errors of both networks.
        specs: What designs must meet.
        episodes: Of each search.
    """

    def __init__(
        self, tables: CostTables, estimators: list[Estimator], specs: Specs, episodes: int
    ) -> None:
        self.tables, self.specs = tables, specs
        self._estimators = estimators
        # At the usual 500 episodes the usual 10,000 chips.
        self._options = CoSearchOptions(episodes=episodes, chips=20 * episodes)

    def run(self, strategy: str, seed: int) -> dict[str, object]:
        """Searches once; returns what was handed over, and what it took."""
        weights = [1 / len(self._estimators)] * len(self._estimators)
        errors = TaskErrors(self.tables.joint, self._estimators, weights)
        problem = Problem(DesignEvaluator(self.tables, self.specs), errors)
        begin, processor_begin = time.perf_counter(), time.thread_time()
        search = STRATEGIES[strategy](problem, self._options, np.random.default_rng(seed))
        search.run(lambda _: None)
        index = search.handed_over()
        seconds = time.perf_counter() - begin, time.thread_time() - processor_begin
        designs = search.designs
        costs = dict(zip(METRICS, designs.costs[index].tolist(), strict=True))
        broken = [m for m, limit in self.specs.limits().items() if not costs[m] <= limit]
        return {
            "error": float(designs.weighted_error[index]),
            "costs": costs,
            "broken": broken,
            "chip": self.tables.joint.split(designs.population[index : index + 1])[-1][0].tolist(),
            "networks_asked_for": list(errors.queries),
            "wall_s": seconds[0],
            "processor_s": seconds[1],
        }


def scaled_specs(tables: CostTables, other: CostTables, specs: Specs) -> Specs:
    """Specs for `other` that as many random designs meet, metric by metric."""
    drawn = tables.joint.sample(RANDOM_DESIGNS, np.random.default_rng(0))
    here = DesignEvaluator(tables, specs).costs(drawn)
    # Cycles do not depend on the technology, so the latency spec, and schedules, can stay.
    there = DesignEvaluator(other, Specs(latency_cycles=specs.latency_cycles)).costs(drawn)
    limits = {"latency_cycles": specs.latency_cycles}
    for metric in ("energy_j", "area_mm2"):
        column = METRICS.index(metric)
        share = float((here[:, column] <= specs.limits()[metric]).mean())
        limits[metric] = float(np.sort(there[:, column])[int(share * (RANDOM_DESIGNS - 1))])
    return Specs(**limits)


def workload(task: Task, seeds: int, suffix: str) -> list[dict[str, object]]:
    """Returns how often each way to search meets the specs, and what accuracy that costs."""
    runs = {
        strategy: [task.run(strategy, seed) for seed in range(seeds)] for strategy in STRATEGIES
    }
    accuracy_only = [run["error"] for run in runs["network-first"]]
    found = []
    for strategy, own in runs.items():
        name = "" if strategy == "nasaic" else f"_{strategy.replace('-', '_')}"
        losses = [
            100 * (run["error"] - best) for run, best in zip(own, accuracy_only, strict=True)
        ]
        found.append(
            result(
                f"specs_met_share{name}{suffix}",
                mean(not run["broken"] for run in own),
                "1",
                reach=1.0 if strategy == "nasaic" and not suffix else None,
                specs=task.specs.limits(),
                runs=own,
            )
        )
        if strategy != "network-first":
            found.append(
                result(
                    f"accuracy_loss_points{name}{suffix}",
                    mean(losses),
                    "1",
                    better="lower",
                    reach=1.0 if strategy == "nasaic" and not suffix else None,
                    lowest=min(losses),
                    highest=max(losses),
                )
            )
    broken = [len(run["broken"]) for run in runs["network-first"]]
    found.append(result(f"specs_broken_network_first{suffix}", mean(broken), "1", better="lower"))
    if not suffix:
        found.append(
            result(
                "episodes_500_s",
                mean(run["processor_s"] for run in runs["nasaic"]),
                "s",
                better="lower",
                reach=60.0,
                wall_s=mean(run["wall_s"] for run in runs["nasaic"]),
            )
        )
    return found


def toy(seeds: int, episodes: int) -> dict[str, object]:
    """Returns the share of seeds that find the best of all 729 designs."""
    space = get_space("resnet9").restricted(
        "toy",
        {
            "stage1.skips": (0,),
            "stage2.skips": (0,),
            "stage3.filters": (64,),
            "stage3.skips": (0,),
        },
    )
    chips = AcceleratorSpace(
        "toy-chips",
        1,
        ("dla", "shi", "rs"),
        (0, 256, 512, 1024),
        (8, 16, 32),
        pes_budget=1024,
        bandwidth_budget=32,
    )
    tables = tabulate_costs([space], chips, get_technology("maestro2020"))
    estimator = SyntheticEstimator(space)
    counts = tables.joint.option_counts
    everything = np.unique(
        tables.joint.canonicalise(np.indices(counts).reshape(len(counts), -1).T.astype(np.uint8)),
        axis=0,
    )
    costs = DesignEvaluator(tables, Specs()).costs(everything)
    specs = Specs(*np.median(costs, axis=0).tolist())
    errors = estimator.error(tables.joint.split(everything)[0])
    meets = DesignEvaluator(tables, specs).violation(everything) <= 0.0
    best = float(errors[meets].min())
    runs = [
        Task(tables, [estimator], specs, episodes).run("nasaic", seed) for seed in range(seeds)
    ]
    hits = [not run["broken"] and run["error"] <= best + 1e-12 for run in runs]
    return result(
        "toy_optimum_share",
        mean(hits),
        "1",
        reach=0.8,
        designs=len(everything),
        feasible=int(meets.sum()),
        best_error=best,
        errors=[run["error"] for run in runs],
    )


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--accuracy",
        default=TABLES,
        metavar="FILE,FILE",
        help="error tables; default: %(default)s",
    )
    arguments = parser.parse_args()
    seeds, episodes = (1, 5) if arguments.quick else (arguments.seeds, 500)
    print(
        f"NASAIC, NSGA-II and one after the other on W1, {seeds} seeds, {episodes} episodes; "
        f"{machine()}",
        file=sys.stderr,
    )
    spaces = [get_space(name) for name in SPACES]
    estimators: list[Estimator] = [
        TabulatedEstimator(space, file, interpolate=True)
        for space, file in zip(spaces, arguments.accuracy.split(","), strict=True)
    ]
    profiles = {
        name: tabulate_costs(spaces, get_hardware_space("accelerator"), get_technology(name))
        for name in ("maestro2020", "phys45")
    }
    specs = Specs.parse(W1, get_technology("maestro2020").clock_hz)
    physical = scaled_specs(profiles["maestro2020"], profiles["phys45"], specs)
    results = workload(Task(profiles["maestro2020"], estimators, specs, episodes), seeds, "")
    results += workload(Task(profiles["phys45"], estimators, physical, episodes), seeds, "_phys45")
    results.append(toy(seeds, episodes))
    emit("nasaic", results, arguments.json)


if __name__ == "__main__":
    main()
