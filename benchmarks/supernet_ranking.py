"""How well each recipe's supernet ranks architectures, against training every one of them alone.

81 architectures of `mbconv-digits@16`: three depths of each stage, three kernels of one block, all
else at its smallest. Digits alone are too easy to tell them apart, so all images are moved, turned
and scaled far more than usual, in training and in testing. The truth is the error of each
architecture trained alone, mean of three seeds, kept in a cache file. A recipe gets the same
number of passes of images through sub-nets as any other (`ofa` and `deps` fewer, for they begin
with one network a step); its supernet is asked for the error of each architecture under
recalibrated batch norm, with ties in the order of cross-entropy.

Kendall's tau-b with the truth, mean over the seeds of the supernet; the interval is the 95 % range
of 1,000 bootstrap samples of architectures. The noise ceiling is the mean tau between two seeds of
training alone, and from one seed to the mean of the others. Parameters and MACs, more taken to be
better, and random numbers stand beside the recipes.

    python benchmarks/supernet_ranking.py [--json] [--quick] [--seeds 3] [--recipes a,b]
"""

import argparse
import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from itertools import combinations, product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path
from report_format import emit, machine, result
from scipy.stats import kendalltau

from hwnas.costs import count_costs
from hwnas.datasets.augmentation import Augmentation
from hwnas.datasets.dataset import Dataset, load_dataset
from hwnas.estimators.supernet_estimator import SupernetEstimator
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import SearchSpace, get_space
from hwnas.training.finetuning import train_alone
from hwnas.training.options import TrainingOptions
from hwnas.training.recipes import available_recipes, load_recipe
from hwnas.training.supernet_training import train_supernet

RESOLUTION = 16
HARD = Augmentation(shift=0.2, rotation=40.0, scale=0.35, shear=0.35)
COPIES = 4  # moved copies of every validation and test image, to judge on
EPOCHS_ALONE = 12
BATCH_SIZE = 64
PASSES = 40  # of every training image through sub-nets, for each recipe
PATHS = 4  # sub-nets a step of the recipes that are not in ONE_PATH
ONE_PATH = {"spos", "spos-flops", "pa-da", "prenas", "few-shot", "gm-nas", "nas-lid", "shift-nas"}
BOOTSTRAPS = 1000
CACHE_VERSION = 1


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--seeds", type=int, default=3, help="supernets of each recipe")
    parser.add_argument("--recipes", help="names with commas between; by default all")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument(
        "--cache", type=Path, default=user_cache_path("hwnas") / "supernet_ranking.json"
    )
    arguments = parser.parse_args()
    recipes = arguments.recipes.split(",") if arguments.recipes else list(available_recipes())
    rows, seeds, passes = architectures(), arguments.seeds, PASSES
    cache = Cache(None if arguments.quick else arguments.cache)
    if arguments.quick:
        rows, seeds, passes, recipes = rows[::16].copy(), 1, 4, ["sandwich", "spos"]
    print(
        f"ranking {len(rows)} architectures by {len(recipes)} recipes, {seeds} seeds each, "
        f"{arguments.workers} processes; {machine()}",
        file=sys.stderr,
    )
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        alone = stand_alone_errors(rows, 2 if arguments.quick else 3, passes, pool, cache)
        ranked = supernet_rankings(rows, recipes, seeds, passes, pool, cache)
    emit("supernet_ranking", compare(rows, alone, ranked), arguments.json)


class Cache:
    """Lists of numbers by name, in a file that is replaced with every entry."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.known: dict[str, list[float]] = {}
        if path is not None and path.exists():
            self.known = json.loads(path.read_text())

    def add(self, name: str, values: list[float]) -> None:
        """Keep an entry."""
        self.known[name] = values
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(".part")
            part.write_text(json.dumps(self.known))
            part.replace(self.path)


@lru_cache(maxsize=1)
def bed() -> tuple[SearchSpace, Dataset]:
    """The sub-space, and digits that were moved a lot."""
    whole = get_space(f"mbconv-digits@{RESOLUTION}")
    fixed = {d.name: d.options[:1] for d in whole.decisions}
    free = ("stage1.depth", "stage2.depth", "stage3.depth", "stage2.1.kernel")
    space = whole.restricted(
        "ranking", {name: options for name, options in fixed.items() if name not in free}
    )
    digits = load_dataset("digits", resolution=RESOLUTION)
    generator = torch.Generator().manual_seed(0)
    x = np.concatenate([digits.x_val, digits.x_test])
    y = np.concatenate([digits.y_val, digits.y_test])
    moved = HARD(torch.from_numpy(np.tile(x, (COPIES, 1, 1, 1))), generator).numpy()
    return space, replace(digits, x_val=moved, y_val=np.tile(y, COPIES))


def architectures() -> np.ndarray:
    """All rows of the sub-space, `(81, d)`."""
    space, _ = bed()
    rows = np.array(list(product(*(range(count) for count in space.option_counts))), np.uint8)
    return np.unique(space.canonicalise(rows), axis=0)


def stand_alone_errors(
    rows: np.ndarray, seeds: int, passes: int, pool: ProcessPoolExecutor, cache: Cache
) -> np.ndarray:
    """Errors of networks that were trained alone, `(seeds, n)`."""
    epochs = max(1, EPOCHS_ALONE * passes // PASSES)
    jobs = {}
    for seed in range(seeds):
        for row in rows.tolist():
            name = f"{CACHE_VERSION} alone {epochs} {seed} {row}"
            if name not in cache.known:
                jobs[name] = pool.submit(train_one, row, seed, epochs)
    begin = time.monotonic()
    for done, (name, job) in enumerate(jobs.items(), 1):
        cache.add(name, [job.result()])
        told(f"{done} of {len(jobs)} networks trained alone", begin)
    found = [
        [cache.known[f"{CACHE_VERSION} alone {epochs} {seed} {row}"][0] for row in rows.tolist()]
        for seed in range(seeds)
    ]
    return np.array(found)


def train_one(row: list[int], seed: int, epochs: int) -> float:
    """Error of one architecture after training it alone."""
    torch.set_num_threads(1)
    space, dataset = bed()
    architecture = space.architecture(np.array(row, np.uint8))
    options = TrainingOptions(epochs=epochs, batch_size=BATCH_SIZE, augmentation=HARD)
    weights = train_alone(
        space, architecture, dataset, options, rng=np.random.default_rng(1000 + seed)
    )
    module = TorchModule(space.network(architecture), weights)
    module.eval()
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(dataset.x_val), 64)
        told_as = torch.cat([module(part) for part in parts]).argmax(1).numpy()
    return float((told_as != dataset.y_val).mean())


def supernet_rankings(
    rows: np.ndarray,
    recipes: list[str],
    seeds: int,
    passes: int,
    pool: ProcessPoolExecutor,
    cache: Cache,
) -> dict[str, np.ndarray]:
    """What each recipe's supernets say of each architecture, `(seeds, n)`."""
    jobs = {}
    for recipe in recipes:
        for seed in range(seeds):
            name = f"{CACHE_VERSION} {recipe} {passes} {seed} {len(rows)}"
            if name not in cache.known:
                jobs[name] = pool.submit(rank, rows, recipe, seed, passes)
    begin = time.monotonic()
    for done, (name, job) in enumerate(jobs.items(), 1):
        cache.add(name, job.result())
        told(f"{done} of {len(jobs)} supernets", begin)
    return {
        recipe: np.array(
            [
                cache.known[f"{CACHE_VERSION} {recipe} {passes} {seed} {len(rows)}"]
                for seed in range(seeds)
            ]
        )
        for recipe in recipes
    }


def rank(rows: np.ndarray, recipe: str, seed: int, passes: int) -> list[float]:
    """What a search would minimise, of a supernet trained by a recipe."""
    torch.set_num_threads(1)
    space, dataset = bed()
    epochs = passes if recipe in ONE_PATH else passes // PATHS
    options = replace(
        load_recipe(recipe).defaults,
        epochs=max(1, epochs),
        batch_size=BATCH_SIZE,
        augmentation=HARD,
    )
    trained = train_supernet(
        space, dataset, recipe, options, rng=np.random.default_rng(2000 + seed)
    )
    return SupernetEstimator(trained.supernet, dataset).ranking(rows).tolist()


def compare(rows: np.ndarray, alone: np.ndarray, ranked: dict[str, np.ndarray]) -> list[dict]:
    """Results of the benchmark."""
    truth = alone.mean(axis=0)
    pairs = [tau(a, b) for a, b in combinations(alone, 2)]
    ceiling = float(np.mean(pairs))
    rest = [tau(one, np.delete(alone, seed, 0).mean(0)) for seed, one in enumerate(alone)]
    params, macs = count_costs(bed()[0], ("params", "macs")).cost(rows).astype(np.float64).T
    random = np.random.default_rng(0).random((3, len(rows)))
    results = [
        result("noise_ceiling_tau", ceiling, "1", better="higher"),
        result("noise_ceiling_tau_to_the_others", float(np.mean(rest)), "1", better="higher"),
        result("error_alone_best", float(truth.min()), "1", better="lower"),
        result("error_alone_worst", float(truth.max()), "1", better="lower"),
    ]
    everything = {**ranked, "parameter_count": -params[None], "macs": -macs[None]}
    everything["random"] = random
    taus = {}
    for name, scores in everything.items():
        key = name.replace("-", "_")
        taus[name] = float(np.mean([tau(score, truth) for score in scores]))
        low, high = interval(scores, truth)
        results += [
            result(f"tau_{key}", taus[name], "1", better="higher"),
            result(f"tau_{key}_low", low, "1", better="higher"),
            result(f"tau_{key}_high", high, "1", better="higher"),
        ]
    best = max(taus[name] for name in ranked)
    beaten = sum(taus[name] > taus["parameter_count"] for name in ranked)
    return [
        *results,
        result("best_recipe_below_ceiling", ceiling - best, "1", better="lower", reach=0.1),
        result("recipes_above_parameter_count", beaten, "1", better="higher", reach=len(ranked)),
    ]


def tau(scores: np.ndarray, truth: np.ndarray) -> float:
    """Kendall's tau-b; 0 where one side is constant."""
    found = float(kendalltau(scores, truth).statistic)
    return found if np.isfinite(found) else 0.0


def interval(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """95 % range of the mean tau over bootstrap samples of architectures."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(BOOTSTRAPS):
        drawn = rng.integers(len(truth), size=len(truth))
        found.append(np.mean([tau(score[drawn], truth[drawn]) for score in scores]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def told(text: str, begin: float) -> None:
    """A line of progress."""
    print(f"{text}, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
