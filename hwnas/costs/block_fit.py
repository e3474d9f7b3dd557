"""Block costs from the costs of whole networks, by non-negative least squares.

Somebody else's measurements are often of whole networks. Taken as sums, `y = A x`: A counts how
often each distinct block occurs in each network, x are the blocks' costs. Weighing relative errors
equally, the fit minimises

    mean_i ((A x)_i / y_i - 1)^2 + strength * sum_j (x_j / p_j - 1)^2,     x_j >= p_j / 100,

where the prior p is each block's share of a typical network by operations. The prior decides what
the networks leave open (only sums are seen: a cost that all networks share can stand in any of
their blocks), and steadies fits on few networks; its strength is the one with the least error on
networks left out. How far a sum of blocks can be believed on the device is what that error says:
on most runtimes a network is not the sum of its parts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from hwnas.costs.compiled import fragments_by_slot
from hwnas.errors import TableError
from hwnas.graph import count_graph
from hwnas.spaces import Population, SearchSpace

__all__ = ["BlockFit", "FittedBlock", "fit_blocks"]

Floats = npt.NDArray[np.float64]

_MINIMUM_NETWORKS = 10
_FOLDS = 5
_STRENGTHS = (1e-8, 1e-6, 1e-4, 1e-2)
_FLOOR = 0.01  # of the prior: a block that does something never costs nothing
_WORTH = 0.95  # a stronger prior must lower the left-out error by 5 % to be taken
_QUANTILE = 1.96  # of the standard normal distribution, for 95 %
_QUARTILES = 1.349  # distance between the quartiles of the standard normal distribution


@dataclass(frozen=True)
class FittedBlock:
    """Cost of a distinct block, in s.

    Args:
        value: The fitted cost.
        low: Lower end of its 95 % interval by the fit's error.
        high: Upper end.
        spread: Distance between the quartiles that the fit's error amounts to.
        networks: Networks that it occurs in; 0 where the prior alone decides.
    """

    value: float
    low: float
    high: float
    spread: float
    networks: int


@dataclass(frozen=True)
class BlockFit:
    """Fitted blocks, and what the fit is worth.

    Args:
        blocks: Key of each distinct block of the space to its cost.
        networks: Networks that were fitted on.
        w10: Share of them predicted within 10 %.
        r2: Share of the variance explained.
        left_out_w10: Share within 10 % when predicted by a fit without them.
        left_out_error: Root mean square of the relative error of such predictions.
    """

    blocks: dict[str, FittedBlock]
    networks: int
    w10: float
    r2: float
    left_out_w10: float
    left_out_error: float


def fit_blocks(space: SearchSpace, population: Population, latency_s: Floats) -> BlockFit:
    """Fit the cost of every distinct block of a space.

    Args:
        space: The space.
        population: The networks, `(n, d)`.
        latency_s: Their latencies in s, `(n,)`, positive and finite.

    Raises:
        TableError: There are too few networks.
    """
    if len(population) < _MINIMUM_NETWORKS:
        raise TableError(
            f"{len(population)} networks of {space.name} do not determine its blocks; give at "
            f"least {_MINIMUM_NETWORKS}, better some hundreds"
        )
    counts, macs, keys = _occurrences(space, space.canonicalise(population))
    least = max(1.0, 0.01 * float(np.median(macs[macs > 0]))) if (macs > 0).any() else 1.0
    share = np.maximum(macs, least)
    prior = share * float(np.median(latency_s / (counts @ share)))
    design = counts * prior / latency_s[:, None]

    strength, left_out = _chosen_strength(design)
    scaled = _solved(design, strength)
    predicted = design @ scaled
    error = float(np.sqrt(np.mean((left_out - 1.0) ** 2)))
    deviation = prior * np.minimum(_deviations(design, strength, error), 1.0)
    occurrences = (counts > 0).sum(axis=0)
    blocks = {}
    for column, members in enumerate(keys):
        part = share[column] / sum(weight for _, weight in members)
        value, sure = scaled[column] * prior[column], deviation[column]
        for key, weight in members:
            of_column = weight * part / share[column]
            blocks[key] = FittedBlock(
                float(value * of_column),
                float(max(0.0, value - _QUANTILE * sure) * of_column),
                float((value + _QUANTILE * sure) * of_column),
                float(_QUARTILES * sure * of_column),
                int(occurrences[column]),
            )
    residual = latency_s * (predicted - 1.0)
    variance = float(np.sum((latency_s - latency_s.mean()) ** 2))
    return BlockFit(
        blocks,
        len(population),
        _within(predicted),
        1.0 - float(np.sum(residual**2)) / variance if variance else float("nan"),
        _within(left_out),
        error,
    )


def _occurrences(
    space: SearchSpace, population: Population
) -> tuple[Floats, Floats, list[list[tuple[str, float]]]]:
    """How often each column's blocks occur, `(n, u)`, operations `(u,)`, keys with their weights.

    A distinct block is a column. Blocks without decisions occur in every network alike: they are
    one column, which is divided among them by operations.
    """
    columns: dict[str, int] = {}
    macs: list[float] = []
    keys: list[list[tuple[str, float]]] = []
    fixed: list[tuple[str, float]] = []
    uses: list[tuple[tuple[int, ...], list[int]]] = []
    for block, fragments in enumerate(fragments_by_slot(space)):
        decisions = space.columns_of(block)
        unit_of_slot = []
        for fragment in fragments:
            if fragment.is_empty:
                unit_of_slot.append(-1)
                continue
            work = float(count_graph(fragment.graph).macs)
            if not decisions:
                fixed.append((fragment.key, max(work, 1.0)))
                continue
            if fragment.key not in columns:
                columns[fragment.key] = len(macs)
                macs.append(work)
                keys.append([(fragment.key, 1.0)])
            unit_of_slot.append(columns[fragment.key])
        if decisions:
            uses.append((decisions, unit_of_slot))
    counts = np.zeros((len(population), len(macs) + bool(fixed)))
    rows = np.arange(len(population))
    for decisions, unit_of_slot in uses:
        sides = [int(space.option_counts[column]) for column in decisions]
        slots = np.ravel_multi_index(population[:, list(decisions)].T.astype(np.intp), sides)
        units = np.array(unit_of_slot)[slots]
        np.add.at(counts, (rows[units >= 0], units[units >= 0]), 1.0)
    if fixed:
        counts[:, -1] = 1.0
        macs.append(sum(weight for _, weight in fixed))
        keys.append(fixed)
    return counts, np.array(macs), keys


def _chosen_strength(design: Floats) -> tuple[float, Floats]:
    """The prior's strength, and predictions `(n,)` of networks left out, relative to measured."""
    best: tuple[float, float, Floats] | None = None
    folds = np.arange(len(design)) % _FOLDS
    for strength in _STRENGTHS:
        predicted = np.empty(len(design))
        for fold in range(_FOLDS):
            out = folds == fold
            predicted[out] = design[out] @ _solved(design[~out], strength)
        error = float(np.mean((predicted - 1.0) ** 2) ** 0.5)
        if best is None or error < _WORTH * best[0]:
            best = error, strength, predicted
    assert best is not None  # there is more than one strength
    return best[1], best[2]


def _solved(design: Floats, strength: float) -> Floats:
    """Costs relative to the prior, `(u,)`."""
    n, units = design.shape
    weighed = np.vstack([design, np.sqrt(strength * n) * np.eye(units)])
    wanted = np.concatenate([np.ones(n), np.full(units, np.sqrt(strength * n))])
    above, _ = nnls(weighed, wanted - _FLOOR * weighed.sum(axis=1), maxiter=50 * units)
    return np.asarray(above + _FLOOR, dtype=np.float64)


def _deviations(design: Floats, strength: float, error: float) -> Floats:
    """Standard deviations `(u,)` of costs relative to the prior, by the left-out error."""
    n, units = design.shape
    precision = design.T @ design + strength * n * np.eye(units)
    deviations: Floats = error * np.sqrt(np.diag(np.linalg.inv(precision)))
    return deviations


def _within(predicted: Floats) -> float:
    return float(np.mean(np.abs(predicted - 1.0) <= 0.1))
