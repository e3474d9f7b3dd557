"""Delayed epsilon-shrinking: the largest alone, then a continuous way to BigNAS."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hwnas.training.options import TrainingOptions, learning_rate_at
from hwnas.training.recipe import Batch, Recipe, TrainingContext
from hwnas.training.recipes.bignas import BigNas
from hwnas.training.recipes.deps import Deps, child_weight
from hwnas.training.supernet_training import train_supernet

SCHEDULES = ["cosine", "linear", "exponential", "constant"]
OPTIONS = replace(Deps.defaults, batch_size=32, augmentation=None, zero_residual_scale=False)


def make(kind, space, digits):
    generator = torch.Generator().manual_seed(0)
    return kind(TrainingContext(space, digits, OPTIONS, np.random.default_rng(0), generator))


def batch_at(digits, progress, n=16):
    images, labels = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(images, labels, torch.arange(n), 0, progress)


def gradients(recipe, paths, batch):
    recipe.step(paths, batch)
    return [p.grad for p in recipe.supernet.parameters()]


def assert_all_equal(first, second):
    for a, b in zip(first, second, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_weight_of_children_is_continuous_from_zero_to_one(schedule):
    rate_at = partial(learning_rate_at, TrainingOptions(schedule=schedule))
    progress = np.linspace(0, 1, 20_001)

    weights = np.array([child_weight(rate_at, p, 0.5, 0.1) for p in progress])

    assert np.all(weights[progress <= 0.4] == 0.0)
    assert np.all(weights[progress >= 0.5] == 1.0)
    assert np.all((weights >= 0) & (weights <= 1 + 1e-12))
    assert np.abs(np.diff(weights)).max() < 2e-3


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_of_children_rises_linearly_in_the_ramp(schedule):
    rate_at = partial(learning_rate_at, TrainingOptions(schedule=schedule))
    ramp = np.linspace(0.4, 0.5, 50)

    rates = [child_weight(rate_at, p, 0.5, 0.1) * rate_at(p) for p in ramp]

    end = rate_at(0.5)
    np.testing.assert_allclose(rates, np.linspace(0, end, 50), atol=1e-12)


def test_without_a_ramp_the_children_come_at_once():
    rate_at = partial(learning_rate_at, TrainingOptions())

    assert [child_weight(rate_at, p, 0.5, 0.0) for p in (0.0, 0.499, 0.5, 1.0)] == [0, 0, 1, 1]


def test_before_the_switch_it_is_plain_training_of_the_largest_bit_for_bit(space, digits):
    class Plain(Recipe):
        name = "plain"

        def draw(self, batch):
            return [self.space.largest()]

    class Undecided(Deps):
        warmup_share = 2.0

    digits = replace(digits, x_train=digits.x_train[:128], y_train=digits.y_train[:128])
    options = replace(Deps.defaults, epochs=2)
    first, second = (
        train_supernet(space, digits, kind, options, rng=np.random.default_rng(0)).supernet
        for kind in (Plain, Undecided)
    )

    assert_all_equal(first.parameters(), second.parameters())


def test_only_the_largest_is_drawn_before_the_ramp_and_four_networks_in_it(space, digits):
    recipe = make(Deps, space, digits)
    begin = Deps.warmup_share - Deps.ramp_share

    early, late = (recipe.draw(batch_at(digits, begin + step)) for step in (-1e-6, 1e-6))

    assert early == [space.largest()]
    assert late[:2] == [space.largest(), space.smallest()]
    assert len(late) == 4


def test_with_full_weight_from_the_first_step_it_is_bignas(space, digits):
    class Immediate(Deps):
        warmup_share = 0.0

    batch = batch_at(digits, 0.0)
    ours, theirs = make(Immediate, space, digits), make(BigNas, space, digits)
    paths = [recipe.draw(batch) for recipe in (ours, theirs)]

    assert paths[0] == paths[1]
    assert_all_equal(gradients(ours, paths[0], batch), gradients(theirs, paths[1], batch))


def test_in_the_ramp_gradients_of_children_are_scaled(space, digits):
    recipe = make(Deps, space, digits)
    batch = batch_at(digits, Deps.warmup_share - Deps.ramp_share / 2)
    weight = recipe.weight_of_children(batch)
    paths = [space.largest(), space.smallest()]

    found = gradients(recipe, paths, batch)

    own = gradients(recipe, paths[:1], batch)
    both = gradients(recipe, paths, replace(batch, progress=1.0))
    assert 0.4 < weight < 0.6
    for ramp, large, full in zip(found, own, both, strict=True):
        torch.testing.assert_close(ramp, large + weight * (full - large), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", ["avg", "avg_sqrt"])
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_an_average_over_one_network_is_its_own_gradient(space, digits, way, progress):
    class Averaged(Deps):
        aggregation = way

    batch = batch_at(digits, progress)
    for path in (space.largest(), space.smallest()):
        averaged, plain = make(Averaged, space, digits), make(Deps, space, digits)
        assert_all_equal(gradients(averaged, [path], batch), gradients(plain, [path], batch))


@pytest.mark.parametrize(("way", "power"), [("avg", 1.0), ("avg_sqrt", 0.5)])
@pytest.mark.parametrize("late", [0.5, 1.0])
def test_averages_divide_by_the_weight_of_the_networks_that_use_an_entry(
    space, digits, way, power, late
):
    class Averaged(Deps):
        aggregation = way

    progress = Deps.warmup_share - (1 - late) * Deps.ramp_share
    batch = batch_at(digits, progress)
    paths = [space.largest(), space.smallest(), space.smallest()]
    plain, averaged = make(Deps, space, digits), make(Averaged, space, digits)
    weight = plain.weight_of_children(batch)

    total, found = (gradients(recipe, paths, batch) for recipe in (plain, averaged))

    names = list(plain.supernet.shared_parameters())
    grads = dict(zip(names, zip(total, found, strict=True), strict=True))
    shared = (1 + 2 * weight) ** power
    for name, (sums, means) in grads.items():
        if name.startswith("block.2/"):
            assert torch.equal(sums, means)
        elif name.startswith(("stem/", "classifier/")):
            torch.testing.assert_close(means, sums / shared)
    kernels = [pair for pair in grads.values() if pair[0].shape[-2:] == (7, 7)]
    sums, means = kernels[0]  # block.1: the smallest uses half of the channels, 3x3
    half = len(sums) // 2
    torch.testing.assert_close(means[:half, :, 2:5, 2:5], sums[:half, :, 2:5, 2:5] / shared)
    assert torch.equal(means[half:], sums[half:])
    assert torch.equal(means[:, :, :2], sums[:, :, :2])


def test_a_training_broken_before_the_switch_goes_on_bit_for_bit(space, digits, tmp_path):
    class KilledError(Exception):
        pass

    def kill(epoch, epochs, metrics):
        if epoch == 1:
            raise KilledError

    digits = replace(digits, x_train=digits.x_train[:96], y_train=digits.y_train[:96])

    def train(seed, **more):
        options = replace(OPTIONS, epochs=3)
        rng = np.random.default_rng(seed)
        return train_supernet(space, digits, "deps", options, rng=rng, **more)

    path = tmp_path / "supernet.pt"
    with pytest.raises(KilledError):
        train(0, checkpoint=path, progress=kill)
    resumed, unbroken = train(99, checkpoint=path, resume=True), train(0)

    assert_all_equal(resumed.supernet.parameters(), unbroken.supernet.parameters())
    assert "loss_others" not in resumed.rows[0]
    assert resumed.rows[-1]["child_weight"] == 1.0


def test_the_logged_loss_of_children_is_a_mean_over_the_steps_that_had_any(space, digits):
    class Marked(Deps):
        def step(self, paths, batch):
            metrics = super().step(paths, batch)
            return metrics | {"loss_others": 2.0} if len(paths) > 1 else metrics

    digits = replace(digits, x_train=digits.x_train[:128], y_train=digits.y_train[:128])
    options = replace(OPTIONS, epochs=1)

    row = train_supernet(space, digits, Marked, options, rng=np.random.default_rng(0)).rows[0]

    assert 0 < row["child_weight"] < 1
    assert row["loss_others"] == 2.0
