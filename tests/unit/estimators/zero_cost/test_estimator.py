"""The estimator keeps the contract, joins its proxies, and agrees with published scores."""

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from hwnas.errors import PluginError
from hwnas.estimators import load_estimator
from hwnas.estimators.zero_cost import PROXIES, ZeroCostEstimator, get_proxies
from hwnas.spaces import available_spaces, get_space
from hwnas.testing.estimator_conformance import EstimatorConformance

REFERENCES = 6
SIDES = {"darts": 16, "fbnet": 32, "ofa-mbv3": 32, "proxyless-mobile": 32, "unet": 32}


def quick(space, proxies=("naswot", "synflow"), **more):
    return ZeroCostEstimator(space, proxies, images=4, references=REFERENCES, **more)


class TestZeroCostEstimator(EstimatorConformance):
    rows = 3

    @pytest.fixture
    def space(self):
        return get_space("mbconv-digits@16")

    @pytest.fixture
    def make_estimator(self, space):
        return lambda: quick(space)


def test_it_is_found_by_its_name():
    assert load_estimator("zero-cost") is ZeroCostEstimator


@pytest.mark.parametrize("name", available_spaces())
def test_every_proxy_scores_networks_of_every_space(name):
    space = get_space(f"{name}@{SIDES[name]}" if name in SIDES else name)
    rows = space.sample(1, np.random.default_rng(0))

    scores = ZeroCostEstimator(space, tuple(PROXIES), images=2).scores(rows)

    assert scores.shape == (1, len(PROXIES))
    assert not np.isnan(scores).any()
    assert np.isfinite(scores[0, list(PROXIES).index("synflow")])


def test_the_error_is_one_minus_the_geometric_mean_of_shares():
    space = get_space("mbconv-digits@16")
    rows = space.sample(4, np.random.default_rng(7))

    apart = [1.0 - quick(space, (name,)).error(rows) for name in ("naswot", "synflow")]

    np.testing.assert_allclose(quick(space).error(rows), 1.0 - np.sqrt(apart[0] * apart[1]))


def test_a_network_without_a_path_ranks_last():
    space = get_space("nasbench201@16")

    error = quick(space).error(np.stack([space.smallest().row(), space.largest().row()]))

    assert error[0] == 1.0
    assert error[1] < 0.5


def test_another_seed_is_another_opinion():
    space = get_space("mbconv-digits@16")
    rows = space.sample(3, np.random.default_rng(1))

    assert (quick(space).error(rows) != quick(space, seed=1).error(rows)).all()


def test_progress_is_told_after_every_network():
    space, told = get_space("mbconv-digits@16"), []

    quick(space, progress=lambda text, share: told.append((text, share))).error(
        space.sample(2, np.random.default_rng(0))
    )

    assert len(told) == REFERENCES + 2
    assert told[-1] == ("scoring networks before training, 2 of 2", 1.0)


@pytest.mark.parametrize("names", [(), ("naswot", "naswot"), ("accuracy",)])
def test_proxies_that_are_none_are_refused(names):
    with pytest.raises(PluginError):
        get_proxies(names)


def test_synflow_orders_cells_as_published_scores_do():
    root = os.environ.get("HWNAS_PUBLISHED_DATA") or Path(__file__).parents[5] / "shared/data"
    path = Path(root) / "nb201/zerocost.csv.gz"
    if not path.is_file():
        pytest.skip("no nb201/zerocost.csv.gz; set HWNAS_PUBLISHED_DATA")
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))[:40]
    population = np.array([[row[f"e{edge}"] for edge in range(6)] for row in rows], np.uint8)
    published = [float(row["synflow"]) for row in rows]

    scores = ZeroCostEstimator(get_space("nasbench201"), ("synflow",)).scores(population)[:, 0]

    assert spearmanr(scores, published).statistic > 0.97
