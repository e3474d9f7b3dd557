"""FLOPs-uniform SPOS: a flat histogram of operations over separate candidates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from hwnas.errors import SpaceError
from hwnas.spaces import SearchSpace, get_space
from hwnas.supernet.separate import SeparateSupernet
from hwnas.training.cost_bins import mac_bins
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.spos import Spos, SposFlops
from hwnas.training.supernet_training import train_supernet

QUICK = TrainingOptions(epochs=2, learning_rate=0.1, augmentation=None)


def make(kind, space, digits, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return kind(TrainingContext(space, digits, QUICK, np.random.default_rng(seed), generator))


def batch(digits):
    x, y = torch.from_numpy(digits.x_train[:8]), torch.from_numpy(digits.y_train[:8])
    return Batch(x, y, torch.arange(8), 0, 0.0)


def test_paths_are_uniform_in_operations_where_those_of_spos_are_not(digits):
    space = get_space("mbconv-digits")
    bins = mac_bins(space)
    counts = []
    for kind in (Spos, SposFlops):
        recipe = make(kind, space, digits)
        drawn = [recipe.draw(batch(digits)) for _ in range(400)]
        assert all(len(paths) == 1 for paths in drawn)
        rows = np.array([path.indices for (path,) in drawn], np.uint8)
        counts.append(np.bincount(bins.bin_of(rows), minlength=len(bins)))

    assert chisquare(counts[0]).pvalue < 1e-12
    assert chisquare(counts[1]).pvalue > 1e-4


def test_candidates_share_no_weights(space, digits):
    assert isinstance(make(SposFlops, space, digits).supernet, SeparateSupernet)


def test_a_resumed_run_is_the_unbroken_run(space, digits, tmp_path):
    few = replace(digits, x_train=digits.x_train[:96], y_train=digits.y_train[:96])

    def killed(*_):
        raise InterruptedError

    def run(name, **more):
        rng = np.random.default_rng(3)
        return train_supernet(
            space, few, SposFlops, QUICK, rng=rng, checkpoint=tmp_path / name, **more
        )

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("part", progress=killed)
    resumed = run("part", resume=True)

    for a, b in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_space_of_one_cost_is_refused(space, digits):
    fixed = SearchSpace("fixed", (), tuple(block for block in space.blocks if not block.decisions))

    with pytest.raises(SpaceError, match="sample without bins, as `spos` does"):
        make(SposFlops, fixed, digits)
