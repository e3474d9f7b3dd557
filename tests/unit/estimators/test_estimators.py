"""Our estimators keep the contract, and are what they say."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

from hwnas.datasets.dataset import load_dataset
from hwnas.errors import DataError, PluginError
from hwnas.estimators import ESTIMATORS, available_estimators, load_estimator
from hwnas.estimators.supernet_estimator import SupernetEstimator
from hwnas.estimators.synthetic import SyntheticEstimator
from hwnas.spaces import get_space
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.testing.estimator_conformance import EstimatorConformance


@cache
def digits():
    return load_dataset("digits", resolution=16)


def supernet_estimator():
    space = get_space("mbconv-digits@16")
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    return SupernetEstimator(supernet, digits(), calibration_images=32)


class TestSyntheticEstimator(EstimatorConformance):
    @pytest.fixture
    def space(self):
        return get_space("mbconv-digits")

    @pytest.fixture
    def make_estimator(self, space):
        return lambda: SyntheticEstimator(space)

    def test_errors_stay_in_their_range_and_more_work_means_less_error(self, space):
        estimator = SyntheticEstimator(space)
        errors = estimator.error(space.sample(500, np.random.default_rng(0)))
        ends = estimator.error(np.stack([space.smallest().row(), space.largest().row()]))

        assert errors.min() >= 0.05
        assert errors.max() <= 0.6
        assert len(np.unique(errors)) > 400
        assert ends[1] < np.median(errors) < ends[0]


class TestSupernetEstimator(EstimatorConformance):
    rows = 3

    @pytest.fixture
    def space(self):
        return get_space("mbconv-digits@16")

    @pytest.fixture
    def make_estimator(self):
        return supernet_estimator

    def test_errors_are_multiples_of_the_resolution(self, space):
        estimator = supernet_estimator()
        steps = estimator.error(space.sample(2, np.random.default_rng(0))) / estimator.resolution

        assert estimator.resolution == pytest.approx(1 / 360)
        np.testing.assert_allclose(steps, np.round(steps))

    def test_the_cross_entropy_costs_no_query(self, space):
        estimator = supernet_estimator()
        population = space.sample(2, np.random.default_rng(0))
        estimator.error(population)
        before = estimator.queries

        assert (estimator.cross_entropy(population) > 0).all()
        assert estimator.queries == before

    def test_calibration_needs_images(self, space):
        with pytest.raises(DataError, match="calibrate"):
            SupernetEstimator(ElasticSupernet(space), digits(), calibration_images=0)


def test_the_registry_names_each_estimator_by_its_own_name():
    assert set(ESTIMATORS) <= set(available_estimators())
    assert all(load_estimator(name).name == name for name in ESTIMATORS)
    with pytest.raises(PluginError, match="unknown estimator"):
        load_estimator("oracle")


def test_importing_estimators_and_lowering_does_not_import_torch():
    code = "import sys, hwnas.estimators, hwnas.lowering; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
