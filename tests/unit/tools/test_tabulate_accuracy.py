"""The table of a tiny setting, and what the tool refuses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwnas.estimators.error_table import read_error_table
from hwnas.spaces import get_space

TOOL = Path(__file__).parents[3] / "tools" / "tabulate_accuracy.py"


def tabulate(*arguments):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    data = folder / "noise.npz"
    rng = np.random.default_rng(0)
    np.savez(data, x=rng.random((60, 16, 16)), y=np.arange(60) % 6)
    done = tabulate(
        *("--space", "mbconv-digits@16", "--data", f"npz:{data}", "--epochs", 1),
        *("--sample", 7, "--moved", 2, "--learning-rate", 0.1, "-o", folder / "table.csv"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "table.csv", done.stdout


def test_the_table_has_the_sample_and_says_how_it_was_obtained(made):
    path, text = made

    found = read_error_table(path, get_space("mbconv-digits@16"))

    assert len(found.error) == 7
    assert len(np.unique(found.population, axis=0)) == 7
    assert text.startswith("7 errors in ")
    assert found.notes["space"] == "mbconv-digits@16"
    assert found.notes["provenance"] == "measured"
    assert found.notes["error"] == "one minus accuracy of 24 validation images"
    assert "learning_rate=0.1" in found.notes["options"]
    for name in ("how", "recipe", "seed", "versions", "date"):
        assert found.notes[name]


def test_the_supernet_does_not_stay_behind(made):
    assert sorted(file.name for file in made[0].parent.iterdir()) == ["noise.npz", "table.csv"]


def test_a_space_too_large_to_list_needs_a_sample(tmp_path):
    done = tabulate("--space", "mbconv-digits@16", "-o", tmp_path / "t.csv")

    assert done.returncode == 1
    assert "give --sample" in done.stderr
