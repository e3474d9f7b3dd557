"""PA&DA: statistics of candidates and images, what is drawn by them, and the variance saved."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch

from hwnas.errors import RunError, SpaceError
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.training.importance import importance
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.pa_da import PaDa, candidate_groups
from hwnas.training.supernet_training import train_supernet

QUICK = TrainingOptions(epochs=4, learning_rate=0.1, augmentation=None, zero_residual_scale=False)


def never(*_, **__):
    raise AssertionError("grouping emits nothing")


def make(space, digits, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PaDa(TrainingContext(space, digits, QUICK, np.random.default_rng(seed), generator))


def batch(digits, first=0, n=16):
    cut = slice(first, first + n)
    x, y = torch.from_numpy(digits.x_train[cut]), torch.from_numpy(digits.y_train[cut])
    return Batch(x, y, torch.arange(first, first + n), 0, 0.0)


def step(recipe, row, digits, first=0):
    recipe.step([recipe.space.architecture(np.array(row))], batch(digits, first))


def test_decisions_that_a_block_reads_are_drawn_together(space):
    mobile = get_space("mbconv-digits")

    assert candidate_groups(space) == [(1, 2), (3, 4)]
    assert [len(group) for group in candidate_groups(mobile)] == [3] * 9
    assert candidate_groups(get_space("proxyless-mobile")) == [(i,) for i in range(21)]


def test_decisions_that_cannot_be_listed_together_are_drawn_one_by_one():
    names = [f"d{i}" for i in range(7)]
    decisions = tuple(Decision(name, (1, 2, 3)) for name in names)
    blocks = [ChoiceBlock("input", never)]
    blocks += [ChoiceBlock(a, never, {"a": a, "b": b}) for a, b in pairwise(names)]

    short = SearchSpace("short", decisions[:6], tuple(blocks[:6]))
    chained = SearchSpace("chained", decisions, tuple(blocks))

    assert candidate_groups(short) == [(0, 1, 2, 3, 4, 5)]  # 729 joint options
    assert candidate_groups(chained) == [(i,) for i in range(7)]


def test_a_candidate_without_weights_counts_zero_and_blocks_that_share_a_decision_their_mean(
    digits,
):
    unit = partial(inverted_residual, width=8, kernel=0, expand=0)
    shared = [ChoiceBlock(name, unit, {"operator": "operator"}) for name in ("a", "b")]
    space = SearchSpace(
        "shared",
        (Decision("operator", ((), (3, 2), (5, 2))),),
        (
            ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
            ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
            *shared,
            ChoiceBlock("classifier", partial(classifier, classes=10)),
        ),
    )
    recipe = make(space, digits)
    step(recipe, [0], digits)
    step(recipe, [2], digits)
    parts = [
        [p.grad.flatten() for n, p in recipe.supernet.shared_parameters().items() if mark in n]
        for mark in ("a/2/", "b/2/")
    ]

    (norms,) = recipe.path_norms

    assert norms[0] == 0.0
    assert np.isnan(norms[1])
    assert norms[2] == pytest.approx(np.mean([float(torch.cat(g).norm()) for g in parts]))
    assert importance(norms, 0.5)[0] == pytest.approx(0.5 / 3)


def test_the_statistic_is_the_norm_of_the_candidate_s_gradient_smoothed_by_means(space, digits):
    recipe = make(space, digits)
    path = space.architecture(np.array([0, 1, 1, 0, 0]))
    direct = []
    for first in (0, 16, 32):
        recipe.step([path], batch(digits, first))
        own = [
            p.grad for n, p in recipe.supernet.shared_parameters().items() if "block.1/1-1" in n
        ]
        direct.append(float(torch.cat([g.flatten() for g in own]).norm()))

    norms, absent = recipe.path_norms

    expected = ((direct[0] + direct[1]) / 2 + direct[2]) / 2
    assert norms[3] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(np.delete(norms, 3)).all()
    assert np.isnan(absent).all()


def test_scores_of_images_lie_between_zero_and_the_root_of_two(space, digits):
    recipe = make(space, digits)
    path = space.largest()
    step(recipe, path.indices, digits)

    scores = recipe.image_scores
    found = batch(digits)
    with torch.no_grad():
        probabilities = recipe.supernet(found.images, path).softmax(1).numpy()
    direct = np.linalg.norm(probabilities - np.eye(10)[found.labels.numpy()], axis=1)

    assert scores[:16] == pytest.approx(direct, abs=1e-5)
    assert ((scores[:16] >= 0) & (scores[:16] <= 2**0.5 + 1e-6)).all()
    assert np.isnan(scores[16:]).all()


def test_importance_rises_linearly_from_uniform(space, digits):
    recipe = make(space, digits)
    step(recipe, [0, 0, 0, 0, 0], digits)
    recipe.path_norms[0][:] = [0, 0, 0, 0, 0, 5.0]

    drawn = []
    for epoch in (0, 2, 4):
        recipe.begin_epoch(epoch)
        rows = np.array([recipe.draw(batch(digits))[0].indices for _ in range(300)])
        drawn.append(((rows[:, 1] == 2) & (rows[:, 2] == 1)).mean())

    assert drawn == pytest.approx([1 / 6, 0.5 + 0.5 / 6, 1.0], abs=0.09)


def test_hard_images_are_drawn_with_replacement_after_the_first_epoch(space, digits):
    recipe = make(space, digits)
    recipe.image_scores[:] = 0.1
    recipe.image_scores[:16] = 1.4

    first, later = recipe.order(0), recipe.order(3)

    n = len(digits.x_train)
    assert sorted(first.tolist()) == list(range(n))
    assert len(later) == n
    hard = 0.75 * (16 * 1.4) / (16 * 1.4 + (n - 16) * 0.1) + 0.25 * 16 / n
    assert float((later < 16).float().mean()) == pytest.approx(hard, abs=0.1)
    assert len(torch.unique(later)) < n


def test_drawing_candidates_by_their_norms_lowers_the_variance_of_the_gradient(space, digits):
    recipe = make(space, digits)
    terms = []
    for option in range(6):
        step(recipe, [0, option // 2, option % 2, 0, 0], digits)
        own = [p for n, p in recipe.supernet.shared_parameters().items() if "block.1/" in n]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        terms.append(torch.cat([g.flatten() for g in parts]).numpy())
    terms = np.array(terms)

    def variance(p):
        estimates = terms / (6 * p[:, None])
        return p @ ((estimates - terms.mean(0)) ** 2).sum(1)

    by_norm = importance(recipe.path_norms[0], 1.0)
    assert not np.isnan(recipe.path_norms[0]).any()
    assert variance(by_norm) < variance(np.full(6, 1 / 6))


def test_a_resumed_run_is_the_unbroken_run(space, digits, tmp_path):
    few = replace(digits, x_train=digits.x_train[:96], y_train=digits.y_train[:96])

    def killed(epoch, *_):
        if epoch == 2:
            raise InterruptedError

    def run(name, **more):
        rng = np.random.default_rng(3)
        return train_supernet(space, few, PaDa, QUICK, rng=rng, checkpoint=tmp_path / name, **more)

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("part", progress=killed)
    resumed = run("part", resume=True)

    for a, b in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [row["loss"] for row in whole.rows] == [row["loss"] for row in resumed.rows]


def test_statistics_of_another_data_set_are_refused(space, digits):
    few = replace(digits, x_train=digits.x_train[:96], y_train=digits.y_train[:96])

    with pytest.raises(RunError, match="other images"):
        make(space, digits).restore(make(space, few).state())
    with pytest.raises(RunError, match="damaged"):
        make(space, digits).restore({})


def test_a_space_without_candidates_is_refused(space, digits):
    fixed = SearchSpace("fixed", (), tuple(block for block in space.blocks if not block.decisions))

    with pytest.raises(SpaceError, match="no block of fixed has several"):
        make(fixed, digits)
