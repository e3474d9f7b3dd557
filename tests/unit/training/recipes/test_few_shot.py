"""The baseline and both splitting recipes: when they split, what they train, how they resume."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.errors import RunError
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.split import SplitSupernet
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes import load_recipe
from hwnas.training.supernet_training import train_supernet

RECIPES = ("few-shot", "gm-nas", "nas-lid")
QUICK = TrainingOptions(epochs=3, learning_rate=0.1)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def few(digits):
    return replace(digits, x_train=digits.x_train[:96], y_train=digits.y_train[:96])


def context(space, digits, seed=0, epochs=3):
    return TrainingContext(
        space,
        digits,
        replace(QUICK, epochs=epochs),
        np.random.default_rng(seed),
        torch.Generator().manual_seed(seed),
    )


def batch(digits, n=16):
    x, y = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(x, y, torch.arange(n), 0, 0.0)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    ("epochs", "members"), [(6, [1, 1, 2, 2, 4, 4]), (4, [1, 2, 4, 4]), (2, [2, 4]), (1, [4])]
)
def test_the_supernet_is_split_after_a_third_and_two_thirds(space, few, name, epochs, members):
    recipe = load_recipe(name)(context(space, few, epochs=epochs))
    recipe.contexts = 1
    seen, told = [], []

    for epoch in range(epochs):
        told.append(recipe.begin_epoch(epoch))
        split = isinstance(recipe.supernet, SplitSupernet)
        seen.append(len(recipe.supernet.members) if split else 1)

    assert seen == members
    assert told == [now != then for now, then in zip(seen, [1, *seen], strict=False)]
    for row in space.sample(20, np.random.default_rng(0)):
        assert sum(part.holds(row) for part in recipe.supernet.parts) == 1


@pytest.mark.parametrize("name", RECIPES)
def test_every_step_trains_one_path_of_one_member_and_all_members_equally(space, few, name):
    recipe = load_recipe(name)(context(space, few))
    assert isinstance(recipe.supernet, ElasticSupernet)
    recipe.contexts = 1
    assert recipe.begin_epoch(1)
    assert recipe.begin_epoch(2)
    counts = np.zeros(4, dtype=int)

    for _ in range(400):
        (path,) = recipe.draw(batch(few))
        counts[recipe.supernet.member_of(path)] += 1
    recipe.step([path], batch(few))

    used = {
        name.split("/")[0]
        for name, parameter in recipe.supernet.shared_parameters().items()
        if parameter.grad is not None
    }
    assert used == {str(recipe.supernet.member_of(path))}
    assert counts.min() > 60


@pytest.mark.parametrize(
    ("name", "broken"), [("few-shot", 2), ("gm-nas", 1), ("gm-nas", 2), ("nas-lid", 2)]
)
def test_a_broken_and_resumed_training_equals_an_unbroken_one(space, few, tmp_path, name, broken):
    path = tmp_path / "supernet.pt"

    quick = type("Quick", (load_recipe(name),), {"contexts": 1})

    def train(seed=0, **more):
        return train_supernet(space, few, quick, QUICK, rng=np.random.default_rng(seed), **more)

    def kill(epoch, epochs, metrics):
        if epoch == broken:
            raise KilledError

    whole = train()
    with pytest.raises(KilledError):
        train(checkpoint=path, progress=kill)
    resumed = train(seed=99, checkpoint=path, resume=True)

    a, b = whole.supernet, resumed.supernet
    assert [part.allowed for part in a.parts] == [part.allowed for part in b.parts]
    assert len(a.parts) == 4
    assert [row["loss"] for row in whole.rows] == [row["loss"] for row in resumed.rows]
    theirs = b.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in a.state_dict().items())


def test_a_damaged_state_is_refused(space, few):
    recipe = load_recipe("gm-nas")(context(space, few))

    for state in ({"split": 3}, {"split": {"members": []}}):
        with pytest.raises(RunError):
            recipe.restore(state)


def test_training_lowers_the_loss_across_the_splits(space, digits):
    options = TrainingOptions(epochs=6, batch_size=16, augmentation=None)

    done = train_supernet(space, digits, "few-shot", options, rng=np.random.default_rng(0))

    losses = [row["loss"] for row in done.rows]
    assert losses[-1] < losses[0] - 0.15
