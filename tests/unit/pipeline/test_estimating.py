"""Estimators for one of several spaces: from a table, a supernet, or training alone."""

import numpy as np
import pytest

from hwnas.costs import CostTable
from hwnas.errors import PluginError, TableError
from hwnas.estimators.error_table import write_error_table
from hwnas.pipeline.estimating import estimator_of
from hwnas.pipeline.requests import SearchRequest
from hwnas.pipeline.searching import search
from hwnas.spaces import get_space

SPACE = "mbconv-digits@16"
QUICK = {"epochs": 1, "batch_size": 256}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """40 rows with made-up errors."""
    space, path = get_space(SPACE), tmp_path_factory.mktemp("errors") / "errors.csv"
    rows = np.unique(space.sample(40, np.random.default_rng(0)), axis=0)
    notes = {"space": SPACE, "error": "one minus IoU of something", "provenance": "measured"}
    write_error_table(path, space, rows, np.linspace(0.1, 0.2, len(rows)), notes)
    return path


def test_a_table_gives_errors_and_says_what_they_are(errors, tmp_path):
    space = get_space(SPACE)
    rows = np.unique(space.sample(40, np.random.default_rng(0)), axis=0)

    found = estimator_of(space, "digits", "tabulated", tmp_path, table=errors)
    gaps = estimator_of(space, "digits", "tabulated", tmp_path, table=errors, interpolate=True)

    np.testing.assert_array_equal(found.ranking(rows), np.linspace(0.1, 0.2, len(rows)))
    assert (found.provenance, found.score, found.test) == ("measured", "IoU", None)
    assert gaps.provenance == "modelled"
    assert 0.0 < gaps.ranking(space.largest().row()[None])[0] < 1.0


def test_a_table_must_be_given(tmp_path):
    with pytest.raises(PluginError, match="give --error-table"):
        estimator_of(get_space(SPACE), "digits", "tabulated", tmp_path)


def test_a_supernet_is_trained_once_into_the_folder(tmp_path):
    space = get_space(SPACE)
    rows = space.sample(1, np.random.default_rng(1))

    first = estimator_of(space, "digits", "supernet", tmp_path, training=QUICK)
    seen = []
    again = estimator_of(
        space, "digits", "supernet", tmp_path, training=QUICK, progress=lambda *p: seen.append(p)
    )
    taken = estimator_of(space, "digits", "supernet", tmp_path, supernet=tmp_path / "supernet")

    assert not seen
    for other in (again, taken):
        np.testing.assert_array_equal(other.ranking(rows), first.ranking(rows))
    assert first.score == "accuracy"
    assert first.test(space.smallest())[1] == 359


def test_networks_trained_by_themselves_are_kept_in_the_folder(tmp_path):
    space = get_space(SPACE)
    row = space.smallest().row()[None]

    found = estimator_of(space, "digits", "trained", tmp_path, training=QUICK, seed=3)

    assert 0.0 <= found.ranking(row)[0] <= 1.0
    assert "# seed: 3" in (tmp_path / "trained.csv").read_text()
    assert found.validation_images == 360


def test_an_estimator_that_needs_nothing_is_made_from_the_space(tmp_path):
    found = estimator_of(get_space(SPACE), "digits", "synthetic", tmp_path)

    assert found.provenance == "modelled"


def test_a_search_reads_its_errors_from_a_table(errors, tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as table:
        wanted = SearchRequest(
            SPACE,
            "simulated",
            estimator="tabulated",
            error_table=errors,
            interpolate=True,
            evaluations=20,
            population=10,
        )
        run = search(wanted, tmp_path / "run", table)

        assert run.record.provenance["error"] == "modelled"
        assert run.record.arguments["error_table"] == str(errors)
        with pytest.raises(TableError, match="no error for"):
            search(
                SearchRequest(SPACE, "simulated", estimator="tabulated", error_table=errors),
                tmp_path / "other",
                table,
            )
