"""Errors in order alone: how networks rank before any training, by zero-cost proxies."""

from collections.abc import Sequence
from functools import cached_property
from zlib import crc32

import numpy as np
import torch

from hwnas.estimators.estimator import Errors
from hwnas.estimators.evaluated import Accounted, Evaluated, Values
from hwnas.estimators.zero_cost.proxies import get_proxies
from hwnas.estimators.zero_cost.rank_shares import RankShares
from hwnas.estimators.zero_cost.untrained_network import UntrainedNetwork
from hwnas.progress import Progress, silent
from hwnas.spaces import Architecture, Population, SearchSpace
from hwnas.supernet.threads import side_by_side

__all__ = ["DEFAULT_PROXIES", "ZeroCostEstimator"]

DEFAULT_PROXIES = ("jacob_cov", "naswot", "synflow")
"""Read different things, and rank better together than any proxy alone."""

IMAGES = 16  # of noise in a batch
REFERENCES = 64  # random networks that scores are compared with


class ZeroCostEstimator(Accounted):
    """One minus the share of random networks that a network outdoes before training.

    The share is the geometric mean, over the proxies, of the network's rank among random networks
    of the space, which is AZ-NAS's way to join proxies (Lee and Ham, CVPR 2024: the sum of the
    logarithms of relative ranks). It is no error rate: 0.1 says that the network ranks with the
    best tenth, not how many images it gets wrong.

    Weights, images and labels depend on the network and the seed alone.

    Differs from the paper: ranks are taken among random networks and not among those of the search
    so far, so that a network's number never changes.

    Args:
        space: The space.
        proxies: Names of proxies.
        images: In a batch; memory grows with it.
        references: Random networks. They are scored when the first number is asked for, and are
            no queries.
        seed: Of everything random.
        device: Where torch computes.
        progress: Called with a line of text and the share done, after every network.

    Raises:
        PluginError: A proxy is unknown or named twice, or none is named.
    """

    name = "zero-cost"

    def __init__(
        self,
        space: SearchSpace,
        proxies: Sequence[str] = DEFAULT_PROXIES,
        *,
        images: int = IMAGES,
        references: int = REFERENCES,
        seed: int = 0,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> None:
        self._space, self._proxies = space, get_proxies(proxies)
        self._images, self._references = images, references
        self._seed, self._device, self._progress = seed, device, progress
        self._evaluated = Evaluated(space, 1, self._evaluate)

    def error(self, population: Population) -> Errors:
        """One minus the share of random networks that each architecture outdoes, `(n,)`.

        1 for a network that cannot be trained, such as one without a path from input to output.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the space.
        """
        return self._evaluated(population)[:, 0]

    def scores(self, population: Population) -> Values:
        """Scores of canonical architectures by the proxies, `(n, m)`; nothing is remembered.

        Args:
            population: `(n, d)`.
        """
        return self._scores(population)

    @cached_property
    def _shares(self) -> tuple[RankShares, ...]:
        rng = np.random.default_rng(self._seed)
        rows = self._space.sample(self._references, rng)
        scores = self._scores(rows)
        return tuple(RankShares(column) for column in scores.T)

    def _evaluate(self, rows: Population) -> Values:
        shares = self._shares
        scores = self._scores(rows)
        logs = np.zeros(len(rows))
        with np.errstate(divide="ignore"):
            for share, column in zip(shares, scores.T, strict=True):
                logs += np.log(share(column)) / len(shares)
        return -np.expm1(logs)[:, None]

    def _scores(self, rows: Population) -> Values:
        architectures = [Architecture(self._space.name, tuple(row)) for row in rows.tolist()]
        found = np.empty((len(rows), len(self._proxies)))
        with side_by_side(self._device) as executor:
            run = map if executor is None else executor.map
            for index, scores in enumerate(run(self._judge, architectures)):
                found[index] = scores
                text = f"scoring networks before training, {index + 1} of {len(rows)}"
                self._progress(text, (index + 1) / len(rows))
        return found

    def _judge(self, architecture: Architecture) -> list[float]:
        key = [self._seed, crc32(self._space.name.encode()), *architecture.indices]
        seed = int(np.random.default_rng(key).integers(2**63))
        network = UntrainedNetwork(
            self._space.network(architecture),
            torch.Generator().manual_seed(seed),
            self._images,
            self._device,
        )
        return [proxy.score(network) for proxy in self._proxies]
