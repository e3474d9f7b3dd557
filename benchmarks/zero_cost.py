"""How well zero-cost proxies rank NAS-Bench-201's cells, against published accuracies and scores.

Cells of the published table (NASLib's zero-cost scores, CIFAR-10) are drawn at random and scored
with hwnas's proxies on Gaussian noise, no image being at hand. Spearman's rho is taken with the
published validation accuracy after 200 epochs; the interval is the 95 % range of 1,000 bootstrap
samples of cells. Multiply-accumulates and parameters stand beside the proxies: what a proxy must
beat. Where the published table has the same proxy (on real images, with weights of its own), the
rank correlation of the two scores is printed too: what an implementation must agree with.

The joint estimator, by which `--estimator zero-cost` ranks, is among the results, with the
accuracy that its best cell lacks against the best cell drawn.

    python benchmarks/zero_cost.py [--json] [--quick] [--cells 240] [--seed 0]

The table is `nb201/zerocost.csv.gz` in the folder `$HWNAS_PUBLISHED_DATA`.
"""

import argparse
import csv
import gzip
import time

import numpy as np
from published_data import published_folder
from report_format import emit, result
from scipy.stats import kendalltau, spearmanr

from hwnas.estimators.zero_cost import DEFAULT_PROXIES, PROXIES, ZeroCostEstimator
from hwnas.spaces import Population, get_space

TABLE = "nb201/zerocost.csv.gz"
EDGES = ("e0", "e1", "e2", "e3", "e4", "e5")
PUBLISHED = {
    "grad_norm": "grad_norm",
    "jacob_cov": "jacov",
    "macs": "flops",
    "params": "params",
    "snip": "snip",
    "synflow": "synflow",
}
BOOTSTRAPS = 1000


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--quick", action="store_true", help="a few cells: checks the script alone"
    )
    parser.add_argument("--cells", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    population, columns = published()
    count = 6 if arguments.quick else arguments.cells
    drawn = np.sort(rng.choice(len(population), min(count, len(population)), replace=False))
    rows, accuracy = population[drawn], columns["val_accuracy"][drawn]

    space, names = get_space("nasbench201"), tuple(PROXIES)
    begin = time.perf_counter()
    estimator = ZeroCostEstimator(space, names, seed=arguments.seed)
    scores = dict(zip(names, estimator.scores(rows).T, strict=True))
    seconds = (time.perf_counter() - begin) / len(rows)
    references = 4 if arguments.quick else 64
    joint = ZeroCostEstimator(space, references=references, seed=arguments.seed)
    shares = 1.0 - joint.error(rows)

    results = [
        correlation("joint", shares, accuracy, rng, proxies=list(DEFAULT_PROXIES)),
        result(
            "joint_regret_points",
            float(accuracy.max() - accuracy[np.argmax(shares)]),
            "percentage points of accuracy",
            better="lower",
        ),
        *(correlation(name, scores[name], accuracy, rng) for name in names),
        *(
            result(f"{ours}_agreement", rho(scores[ours], columns[theirs][drawn]), "1")
            for ours, theirs in PUBLISHED.items()
        ),
        result("all_proxies_s", seconds, "s", better="lower", cells=len(rows)),
    ]
    emit("zero_cost", results, arguments.json)


def published() -> tuple[Population, dict[str, np.ndarray]]:
    """Cells as rows of `nasbench201`, and the columns of the table, by name."""
    path = published_folder() / TABLE
    if not path.is_file():
        raise SystemExit(f"{path} is not there: set HWNAS_PUBLISHED_DATA to the folder with it")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    population = np.array([[int(row[edge]) for edge in EDGES] for row in rows], dtype=np.uint8)
    names = {*PUBLISHED.values(), "val_accuracy"}
    return population, {name: np.array([float(row[name]) for row in rows]) for name in names}


def correlation(
    name: str,
    scores: np.ndarray,
    accuracy: np.ndarray,
    rng: np.random.Generator,
    **details: object,
) -> dict[str, object]:
    """Spearman's rho with its interval; Kendall's tau-b beside it."""
    samples = rng.integers(len(scores), size=(BOOTSTRAPS, len(scores)))
    found = [rho(scores[s], accuracy[s]) for s in samples]
    return result(
        f"{name}_rho",
        rho(scores, accuracy),
        "1",
        interval=np.nanquantile(found, (0.025, 0.975)).round(4).tolist(),
        kendall_tau=round(float(kendalltau(ordered(scores), accuracy).statistic), 4),
        **details,
    )


def rho(scores: np.ndarray, truth: np.ndarray) -> float:
    """Spearman's rank correlation; networks that are useless rank last, together."""
    return float(spearmanr(ordered(scores), truth).statistic)


def ordered(scores: np.ndarray) -> np.ndarray:
    """Finite numbers in the same order."""
    finite = scores[np.isfinite(scores)]
    return np.where(np.isfinite(scores), scores, finite.min(initial=0.0) - 1.0)


if __name__ == "__main__":
    main()
