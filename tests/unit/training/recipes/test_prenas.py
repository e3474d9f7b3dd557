"""PreNAS: which architectures are preferred, and that only they are trained."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hwnas.errors import RunError
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.cost_bins import mac_bins
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.prenas import (
    PreNas,
    place,
    preferred_rows,
    score_weights,
    spread_rows,
)
from hwnas.training.supernet_training import train_supernet
from hwnas.training.weight_saliency import population_sums

QUICK = TrainingOptions(epochs=3, learning_rate=0.1, augmentation=None)


@pytest.fixture(scope="module")
def unlike():
    """Two layers of two choices each that have nothing in common: no roles."""
    unit = partial(inverted_residual, width=8)
    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
        ChoiceBlock("first", partial(unit, expand=2), {"kernel": "first.kernel"}),
        ChoiceBlock("second", partial(unit, kernel=3), {"expand": "second.expand"}),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    decisions = (Decision("first.kernel", (3, 5, 7)), Decision("second.expand", (2, 4, 6)))
    return SearchSpace("unlike", decisions, blocks)


def noise(n=16):
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(4))


def scores_of(space, seed=0):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(seed))
    return score_weights(supernet, noise())


def make(space, digits, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PreNas(TrainingContext(space, digits, QUICK, np.random.default_rng(seed), generator))


def every_row(space):
    grid = np.indices(space.option_counts.tolist()).reshape(len(space.decisions), -1).T
    return np.unique(space.canonicalise(np.ascontiguousarray(grid, np.uint8)), axis=0)


def best_by_bin(bins, scores, rows):
    values = population_sums(bins.space, scores.slots, rows)
    found = bins.bin_of(rows)
    return {int(i): values[found == i].max() for i in np.unique(found)}


@pytest.mark.parametrize("name", ["tiny", "unlike"])
def test_the_choice_is_that_of_brute_force_over_placed_architectures(name, space, unlike):
    space = space if name == "tiny" else unlike
    bins, scores = mac_bins(space), scores_of(space)
    rows = every_row(space)
    placed = np.unique(place(space, scores.roles, rows), axis=0)

    chosen = preferred_rows(bins, scores, np.random.default_rng(0))

    assert len(rows) == space.cardinality
    assert best_by_bin(bins, scores, chosen) == best_by_bin(bins, scores, placed)
    assert len(chosen) == len(np.unique(bins.bin_of(chosen)))
    if name == "unlike":  # nothing is taken alike, so that all architectures are placed
        assert scores.roles == ()
        assert len(placed) == len(rows)


def test_a_larger_architecture_never_scores_less(space):
    scores = scores_of(space)
    rows = space.sample(40, np.random.default_rng(1))
    larger = space.canonicalise(np.minimum(rows + 1, space.option_counts - 1).astype(np.uint8))

    before, after = (population_sums(space, scores.slots, r) for r in (rows, larger))

    assert (after >= before * (1 - 1e-5)).all()
    assert (after > before).any()


def test_placing_keeps_the_counts_and_gives_larger_options_to_better_places(space):
    rows = space.sample(60, np.random.default_rng(2))
    roles = ((3, 1), (2, 4))

    placed = place(space, roles, rows)

    deep = rows[:, 0] == 1
    assert (placed[~deep] == rows[~deep]).all()
    for role in roles:
        columns = list(role)
        assert (np.sort(placed[deep][:, columns]) == np.sort(rows[deep][:, columns])).all()
        assert (placed[deep][:, role[0]] >= placed[deep][:, role[1]]).all()
    assert (space.canonicalise(placed) == placed).all()


def test_draws_reach_both_ends_while_every_decision_is_uniform(space):
    rows = spread_rows(space, 3000, np.random.default_rng(3))

    assert (rows == np.array(space.largest().indices)).all(1).mean() > 0.02
    for column in range(3):  # never inactive
        k = int(space.option_counts[column])
        shares = np.bincount(rows[:, column], minlength=k) / len(rows)
        assert shares == pytest.approx(np.full(k, 1 / k), abs=0.04)


def test_the_same_seed_prefers_the_same_and_looks_at_no_labels(space, digits):
    relabelled = replace(digits, y_train=(digits.y_train + 1) % 10)
    recipes = [make(space, data) for data in (digits, digits, relabelled)]

    for recipe in recipes:
        recipe.begin_epoch(0)

    first, again, other_labels = (recipe.preferred for recipe in recipes)
    assert first == again == other_labels
    assert len(first) > 3


def test_labels_can_be_the_source_of_the_gradients(space, digits):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    images = torch.from_numpy(digits.x_train[:32])
    labels = torch.from_numpy(digits.y_train[:32])

    found = [score_weights(supernet, images, each).slots for each in (labels, labels.flip(0))]

    assert any((a != b).any() for a, b in zip(*found, strict=True))


def test_scores_are_not_zero_although_residual_branches_start_at_zero(space, digits):
    recipe = make(space, digits)
    recipe.begin_epoch(0)

    scores = scores_of(space)

    assert QUICK.zero_residual_scale
    assert all((slots > 0).any() for slots in scores.slots[1:])


def test_only_preferred_architectures_are_trained_and_all_of_them(space, digits):
    recipe = make(space, digits)
    recipe.begin_epoch(0)
    x, y = torch.from_numpy(digits.x_train[:8]), torch.from_numpy(digits.y_train[:8])
    batch = Batch(x, y, torch.arange(8), 0, 0.0)

    drawn = {recipe.draw(batch)[0].indices for _ in range(300)}

    assert drawn == {tuple(row) for row in recipe.preferred}


def test_a_resumed_run_is_the_unbroken_run(space, digits, tmp_path):
    few = replace(digits, x_train=digits.x_train[:96], y_train=digits.y_train[:96])

    def killed(*_):
        raise InterruptedError

    def run(name, **more):
        rng = np.random.default_rng(3)
        return train_supernet(
            space, few, PreNas, QUICK, rng=rng, checkpoint=tmp_path / name, **more
        )

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("part", progress=killed)
    resumed = run("part", resume=True)

    for a, b in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_preferred_architectures_of_another_space_are_refused(space, digits):
    recipe = make(space, digits)

    for damaged in ({}, {"preferred": [[9, 9, 9, 9, 9]]}, {"preferred": [[0]]}):
        with pytest.raises(RunError, match="damaged"):
            recipe.restore(damaged)
