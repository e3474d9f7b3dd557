"""Training: which sub-nets, which gradients, and the same result after a break."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from hwnas.errors import DataError, RunError, SpaceError
from hwnas.spaces import get_space
from hwnas.supernet.augmentation import Augmentation
from hwnas.supernet.checkpoint import load_weights
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.training import (
    DivergenceError,
    Recipe,
    finetune,
    learning_rate_at,
    sandwich_paths,
    train_supernet,
    training_step,
)

QUICK = Recipe(epochs=4, learning_rate=0.1, random_paths=1)


def train(space, digits, recipe=QUICK, seed=0, **more):
    return train_supernet(space, digits, recipe, rng=np.random.default_rng(seed), **more)


def state(supernet):
    return {name: p.detach().clone() for name, p in supernet.shared_parameters().items()}


def batch(digits, n=16):
    return torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])


def assert_equal_states(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(space, digits):
    return train(space, digits)


def wrong(supernet, architecture, digits, statistics=None):
    x = torch.from_numpy(digits.x_val)
    if statistics is None:
        statistics = supernet.calibrate(architecture, torch.from_numpy(digits.x_train))
    logits = supernet.logits(architecture, x, statistics)
    return float((logits.argmax(1).numpy() != digits.y_val).mean())


def test_the_sandwich_always_holds_the_largest_and_the_smallest(space):
    rng = np.random.default_rng(0)

    for count in range(4):
        paths = sandwich_paths(space, count, rng)
        assert paths[:2] == [space.largest(), space.smallest()]
        assert len(paths) == count + 2


def test_random_paths_hit_every_option_equally():
    space = get_space("mbconv-digits")
    paths = sandwich_paths(space, 3000, np.random.default_rng(0), sandwich=False)
    rows = np.array([path.indices for path in paths])

    for column, decision in enumerate(space.decisions):
        if decision.name.endswith(".depth") or ".1." in decision.name:  # never inactive
            counts = np.bincount(rows[:, column], minlength=len(decision.options))
            assert chisquare(counts).pvalue > 1e-4


def test_a_block_that_no_path_uses_is_bit_identical_after_a_step_with_momentum(space, digits):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    shallow = space.smallest()
    images, labels = batch(digits)
    training_step(supernet, [space.largest(), shallow], images, labels, QUICK)
    optimiser.step()  # momentum is now under way everywhere
    before = state(supernet)

    training_step(supernet, [shallow], images, labels, replace(QUICK, sandwich=False))
    optimiser.step()

    after = state(supernet)
    for name, parameter in supernet.shared_parameters().items():
        unused = name.startswith("block.2/")
        assert (parameter.grad is None) == unused
        assert torch.equal(before[name], after[name]) == unused


def test_gradients_do_not_depend_on_threads(space, digits):
    from hwnas.supernet.threads import side_by_side

    images, labels = batch(digits)
    paths = sandwich_paths(space, 3, np.random.default_rng(0))
    found = []
    for threaded in (False, True):
        supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
        with side_by_side() as executor:
            training_step(supernet, paths, images, labels, QUICK, executor if threaded else None)
        found.append([p.grad for p in supernet.parameters()])

    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_teacher_gets_no_gradient_from_the_children(space, digits):
    recipe = replace(QUICK, distillation=True)
    images, labels = batch(digits)
    deep = space.largest()
    shallow = space.smallest()
    alone, together = (ElasticSupernet(space, torch.Generator().manual_seed(0)) for _ in range(2))

    training_step(alone, [deep], images, labels, recipe)
    training_step(together, [deep, shallow], images, labels, recipe)

    for name, parameter in together.shared_parameters().items():
        if name.startswith("block.2/"):  # the child has no such block
            assert torch.equal(parameter.grad, alone.shared_parameters()[name].grad)


@pytest.mark.parametrize("distillation", [True, False])
def test_children_see_labels_only_without_distillation(space, digits, distillation):
    recipe = replace(QUICK, distillation=distillation)
    images, labels = batch(digits)
    losses = []
    for target in (labels, (labels + 1) % 10):
        supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
        paths = [space.largest(), space.smallest()]
        losses.append(training_step(supernet, paths, images, target, recipe)["loss_others"])

    assert (losses[0] == losses[1]) == distillation


def test_the_learning_rate_rises_then_falls_to_its_final_share():
    recipe = Recipe(learning_rate=1.0, warmup_share=0.2, final_share=0.05)
    rates = [learning_rate_at(recipe, p) for p in np.linspace(0, 1, 101)]

    assert np.argmax(rates) == 20
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.05)
    assert np.all(np.diff(rates[:21]) > 0)
    assert np.all(np.diff(rates[20:]) < 0)


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


def test_a_checkpoint_of_another_space_or_recipe_is_refused(make_space, digits, tmp_path):
    path = tmp_path / "supernet.pt"
    recipe = replace(QUICK, epochs=1)
    space = make_space()
    train(space, digits, recipe, checkpoint=path)

    with pytest.raises(RunError, match=r"space 'tiny', asked for 'other'"):
        train(make_space("other"), digits, recipe, checkpoint=path, resume=True)
    with pytest.raises(RunError, match="recipe"):
        train(space, digits, replace(recipe, momentum=0.8), checkpoint=path, resume=True)


def test_weights_can_be_taken_from_a_checkpoint(space, digits, tmp_path):
    path = tmp_path / "supernet.pt"
    done = train(space, digits, replace(QUICK, epochs=1), checkpoint=path)
    other = ElasticSupernet(space)

    load_weights(path, {"space": space.name}, other)

    assert_equal_states(state(other), state(done.supernet))


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


def test_divergence_is_reported_and_the_last_good_checkpoint_kept(space, digits, tmp_path):
    path = tmp_path / "supernet.pt"
    recipe = replace(QUICK, epochs=2, learning_rate=1e30, warmup_share=0.5, gradient_clip=1e30)

    with pytest.raises(DivergenceError, match="lower the learning rate"):
        train(space, digits, recipe, checkpoint=path)

    assert not list(tmp_path.glob("*.part"))


def test_recalibration_makes_a_trained_sub_net_better(space, digits):
    trained = train(space, digits, replace(QUICK, epochs=10, batch_size=16, augmentation=None))
    architecture = space.smallest()
    theirs = trained.supernet.calibrate(space.largest(), torch.from_numpy(digits.x_train))
    own = trained.supernet.calibrate(architecture, torch.from_numpy(digits.x_train))
    borrowed = own | {
        name: value[: len(own[name])] for name, value in theirs.items() if name in own
    }

    good = wrong(trained.supernet, architecture, digits)

    assert good < 0.5
    assert good < wrong(trained.supernet, architecture, digits, borrowed)


def test_finetuning_improves_a_sub_net_and_keeps_its_names(space, digits, trained):
    architecture = space.largest()
    statistics = trained.supernet.calibrate(architecture, torch.from_numpy(digits.x_train))
    weights = trained.supernet.weights(architecture, statistics)
    rows = []

    tuned = finetune(
        space,
        architecture,
        weights,
        digits,
        replace(QUICK, epochs=3),
        rng=np.random.default_rng(0),
        progress=lambda epoch, epochs, metrics: rows.append(metrics["loss"]),
    )

    assert tuned.keys() == weights.keys()
    assert all(tuned[name].shape == weights[name].shape for name in weights)
    assert rows[-1] < rows[0]


def test_images_of_another_side_are_refused_before_training(digits):
    with pytest.raises(DataError, match="choose a space"):
        train(get_space("mbconv-digits"), digits)


def test_a_recipe_without_any_path_is_refused():
    with pytest.raises(SpaceError, match="at least one"):
        Recipe(sandwich=False, random_paths=0)
    with pytest.raises(SpaceError, match="at least 1 epoch"):
        Recipe(epochs=0)


def test_augmentation_is_the_same_for_the_same_seed_and_moves_little(digits):
    x = torch.from_numpy(digits.x_train[:8])

    moved, again = (Augmentation()(x, torch.Generator().manual_seed(0)) for _ in range(2))
    still = Augmentation(0, 0, 0, 0)(x, torch.Generator().manual_seed(0))

    assert torch.equal(moved, again)
    assert not torch.equal(moved, x)
    assert moved.min() >= x.min() - 1e-5
    torch.testing.assert_close(still, x, rtol=1e-4, atol=1e-4)
