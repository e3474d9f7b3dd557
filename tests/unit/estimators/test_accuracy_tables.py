"""The tables of benchmarks/accuracy: whole spaces, and a word on how each was made."""

from pathlib import Path

import numpy as np
import pytest

from hwnas.estimators.error_table import read_error_table
from hwnas.estimators.tabulated import TabulatedEstimator
from hwnas.spaces import get_space

FOLDER = Path(__file__).parents[3] / "benchmarks" / "accuracy"
TABLES = {"resnet9-digits": "resnet9@16", "unet-nuclei": "unet@32"}


def test_every_table_is_known_here():
    assert {path.stem for path in FOLDER.glob("*.csv")} == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_holds_every_architecture_and_says_how_it_was_made(name):
    space, path = get_space(TABLES[name]), FOLDER / f"{name}.csv"

    table = read_error_table(path, space)

    assert len(table.error) == space.cardinality
    assert table.notes["space"] == space.name
    for note in ("data", "error", "how", "recipe", "options", "seed", "versions", "date"):
        assert table.notes[note]
    assert TabulatedEstimator(space, path).provenance == "measured"


@pytest.mark.parametrize("name", TABLES)
def test_the_largest_networks_err_less_than_the_smallest(name):
    space = get_space(TABLES[name])
    estimator = TabulatedEstimator(space, FOLDER / f"{name}.csv")
    ends = np.stack([space.smallest().row(), space.largest().row()])

    smallest, largest = estimator.error(ends)

    everything = estimator.error(space.sample(500, np.random.default_rng(0)))
    assert largest < np.quantile(everything, 0.1)
    assert smallest > np.quantile(everything, 0.6)
