"""Training of a supernet: the same result after a break, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.errors import DataError, PluginError, RunError
from hwnas.spaces import get_space
from hwnas.training.checkpoint import load_supernet
from hwnas.training.loop import DivergenceError
from hwnas.training.options import TrainingOptions
from hwnas.training.supernet_training import train_supernet

QUICK = TrainingOptions(epochs=4, learning_rate=0.1)


def train(space, digits, options=QUICK, seed=0, recipe="sandwich", **more):
    return train_supernet(space, digits, recipe, options, rng=np.random.default_rng(seed), **more)


def state(supernet):
    return {name: p.detach().clone() for name, p in supernet.shared_parameters().items()}


def assert_equal_states(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(space, digits):
    return train(space, digits)


def wrong(supernet, architecture, digits, statistics):
    logits = supernet.logits(architecture, torch.from_numpy(digits.x_val), statistics)
    return float((logits.argmax(1).numpy() != digits.y_val).mean())


def test_training_lowers_the_loss_and_tells_of_every_epoch(space, digits, trained):
    assert [row["epoch"] for row in trained.rows] == [1, 2, 3, 4]
    assert trained.rows[-1]["loss"] < trained.rows[0]["loss"]
    assert trained.rows[-1]["loss_others"] < trained.rows[0]["loss_others"]
    assert not trained.supernet.training


def test_the_same_seed_trains_the_same_supernet(space, digits):
    options = replace(QUICK, epochs=1)

    first, again, other = (train(space, digits, options, seed) for seed in (0, 0, 1))

    assert_equal_states(state(first.supernet), state(again.supernet))
    with pytest.raises(AssertionError):
        assert_equal_states(state(first.supernet), state(other.supernet))


def test_a_broken_and_resumed_training_equals_an_unbroken_one(space, digits, trained, tmp_path):
    class KilledError(Exception):
        pass

    def kill(epoch, epochs, metrics):
        if epoch == 2:
            raise KilledError

    path = tmp_path / "supernet.pt"
    with pytest.raises(KilledError):
        train(space, digits, checkpoint=path, progress=kill)
    resumed = train(space, digits, seed=99, checkpoint=path, resume=True)

    assert_equal_states(state(resumed.supernet), state(trained.supernet))
    assert [row["loss"] for row in resumed.rows] == [row["loss"] for row in trained.rows]
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_another_space_recipe_or_options_is_refused(make_space, digits, tmp_path):
    path = tmp_path / "supernet.pt"
    options = replace(QUICK, epochs=1)
    space = make_space()
    train(space, digits, options, checkpoint=path)

    def resume(space=space, options=options, **more):
        train(space, digits, options, checkpoint=path, resume=True, **more)

    with pytest.raises(RunError, match=r"space 'tiny', asked for 'other'"):
        resume(make_space("other"))
    with pytest.raises(RunError, match=r"recipe 'sandwich', asked for 'bignas'"):
        resume(recipe="bignas")
    with pytest.raises(RunError, match="options"):
        resume(options=replace(options, momentum=0.8))


def test_a_supernet_can_be_taken_from_a_checkpoint(space, digits, tmp_path):
    path = tmp_path / "supernet.pt"
    done = train(space, digits, replace(QUICK, epochs=1), checkpoint=path)

    found = load_supernet(path, space)

    assert_equal_states(state(found), state(done.supernet))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused_with_its_name(space, digits, tmp_path, content):
    path = tmp_path / "supernet.pt"
    path.write_bytes(content)

    with pytest.raises(RunError, match=r"supernet\.pt"):
        train(space, digits, checkpoint=path, resume=True)


def test_a_checkpoint_that_would_run_code_is_refused(space, digits, tmp_path):
    path = tmp_path / "supernet.pt"
    torch.save({"format": 1, "identity": {}, "evil": print}, path)

    with pytest.raises(RunError):
        train(space, digits, checkpoint=path, resume=True)


WILD = replace(
    QUICK, epochs=2, learning_rate=1e30, warmup_share=0.5, gradient_clip=1e30, augmentation=None
)


def test_divergence_before_the_first_checkpoint_promises_none(space, digits, tmp_path):
    with pytest.raises(DivergenceError, match="lower the learning rate") as raised:
        train(space, digits, WILD, checkpoint=tmp_path / "supernet.pt")

    assert "holds the epoch before" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_divergence_keeps_the_last_good_checkpoint_and_names_it(space, digits, tmp_path):
    path = tmp_path / "supernet.pt"
    kept = {}

    images = digits.x_train.copy()
    own = replace(digits, x_train=images)

    def spoil(epoch, epochs, metrics):
        kept["bytes"] = path.read_bytes()
        images[:] = np.nan  # the loop reads the same memory

    with pytest.raises(DivergenceError, match=r"epoch 2, step 1.*supernet\.pt holds the epoch"):
        train(space, own, checkpoint=path, progress=spoil)

    assert path.read_bytes() == kept["bytes"]
    assert list(tmp_path.iterdir()) == [path]


def test_recalibration_makes_a_trained_sub_net_better(space, digits):
    options = replace(QUICK, batch_size=16, augmentation=None, zero_residual_scale=False)
    supernet = train(space, digits, options).supernet
    architecture = space.smallest()
    theirs = supernet.calibrate(space.largest(), torch.from_numpy(digits.x_train))
    own = supernet.calibrate(architecture, torch.from_numpy(digits.x_train))
    borrowed = own | {
        name: value[: len(own[name])] for name, value in theirs.items() if name in own
    }

    good = wrong(supernet, architecture, digits, own)

    assert good < 0.5
    assert good < wrong(supernet, architecture, digits, borrowed)


def test_images_of_another_side_are_refused_before_training(digits):
    with pytest.raises(DataError, match="choose a space"):
        train(get_space("mbconv-digits"), digits)


def test_a_batch_larger_than_the_data_is_refused_before_training(space, digits):
    with pytest.raises(DataError, match="smaller batch"):
        train(space, digits, replace(QUICK, batch_size=300))


def test_an_unknown_recipe_is_refused_with_the_known_ones(space, digits):
    with pytest.raises(PluginError, match=r"unknown recipe 'magic'; available: .*bignas"):
        train(space, digits, recipe="magic")
