"""BigNAS: who is trained, from what it learns, how it starts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.training.options import learning_rate_at
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.bignas import BigNas
from hwnas.training.recipes.sandwich import Sandwich
from hwnas.training.supernet_training import train_supernet

OPTIONS = replace(BigNas.defaults, augmentation=None, zero_residual_scale=False)


def make(space, digits, kind=BigNas, options=OPTIONS):
    generator = torch.Generator().manual_seed(0)
    return kind(TrainingContext(space, digits, options, np.random.default_rng(0), generator))


def first_batch(digits, n=16):
    images, labels = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(images, labels, torch.arange(n), 0, 0.0)


def gradients(recipe, paths, batch):
    recipe.step(paths, batch)
    return {name: p.grad for name, p in recipe.supernet.shared_parameters().items()}


@pytest.mark.parametrize("kind", [Sandwich, BigNas])
def test_every_step_holds_the_largest_the_smallest_and_random_sub_nets(space, digits, kind):
    recipe, batch = make(space, digits, kind), first_batch(digits)

    drawn = [recipe.draw(batch) for _ in range(50)]

    assert all(paths[:2] == [space.largest(), space.smallest()] for paths in drawn)
    assert {len(paths) for paths in drawn} == {4}
    assert len({path for paths in drawn for path in paths[2:]}) > 20


def test_sub_nets_of_all_depths_coincide_at_the_start(space, digits):
    recipe = make(space, digits, options=BigNas.defaults)
    images = first_batch(digits).images
    shallow = space.from_options(space.options(space.largest()) | {"depth": 1})

    results = [recipe.supernet(images, a) for a in (space.largest(), shallow, space.smallest())]

    assert BigNas.defaults.zero_residual_scale
    assert results[0].abs().sum() > 0
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(results[2], results[0])


@pytest.mark.parametrize(("kind", "blind"), [(Sandwich, False), (BigNas, True)])
def test_only_without_distillation_children_see_labels(space, digits, kind, blind):
    """The largest gets the same labels both times, its children get wrong ones once."""
    batch = first_batch(digits)
    wrong = replace(batch, labels=(batch.labels + 1) % 10)
    paths = [space.largest(), space.smallest()]
    found = []
    for labels_of_children in (batch, wrong):

        class Split(kind):
            def objective(self, index, logits, teacher, batch, _other=labels_of_children):
                return super().objective(index, logits, teacher, _other if index else batch)

        found.append(gradients(make(space, digits, Split), paths, batch))

    same = all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert same == blind


def test_the_loss_of_children_is_the_cross_entropy_with_the_predictions_of_the_largest(
    space, digits
):
    recipe, batch = make(space, digits), first_batch(digits)
    paths = [space.largest(), space.smallest()]
    with torch.no_grad():
        teacher, child = (recipe.supernet(batch.images, path) for path in paths)

    metrics = recipe.step(paths, batch)

    expected = functional.cross_entropy(child, teacher.softmax(1)).item()
    hard = functional.cross_entropy(teacher, batch.labels, label_smoothing=0.1).item()
    assert metrics["loss_others"] == pytest.approx(expected, rel=1e-4)
    assert metrics["loss"] == pytest.approx(hard, rel=1e-4)


def test_the_largest_gets_no_gradient_from_its_children(space, digits):
    batch = first_batch(digits)

    alone = gradients(make(space, digits), [space.largest()], batch)
    together = gradients(make(space, digits), [space.largest(), space.smallest()], batch)

    for name, gradient in together.items():
        if name.startswith("block.2/"):  # the child has no such block
            assert torch.equal(gradient, alone[name])
    assert not torch.equal(together["stem/conv/weight"], alone["stem/conv/weight"])


def test_the_learning_rate_never_falls_below_a_twentieth_after_the_warm_up():
    options = BigNas.defaults
    rates = [learning_rate_at(options, p) for p in np.linspace(options.warmup_share, 1, 200)]

    assert min(rates) == pytest.approx(0.05 * options.learning_rate)
    assert rates[-60:] == pytest.approx([0.05 * options.learning_rate] * 60)


def test_label_smoothing_reaches_the_largest_alone(space, digits):
    batch = first_batch(digits)
    paths = [space.largest(), space.smallest()]

    plain, smooth = (
        make(space, digits, options=replace(OPTIONS, label_smoothing=amount)).step(paths, batch)
        for amount in (0.0, 0.3)
    )

    assert plain["loss_others"] == smooth["loss_others"]
    assert plain["loss"] != smooth["loss"]


def test_a_broken_and_resumed_training_equals_an_unbroken_one(space, digits, tmp_path):
    class KilledError(Exception):
        pass

    def kill(epoch, epochs, metrics):
        if epoch == 1:
            raise KilledError

    options = replace(OPTIONS, epochs=2, batch_size=64)
    path = tmp_path / "supernet.pt"

    def train(seed=0, **more):
        rng = np.random.default_rng(seed)
        return train_supernet(space, digits, "bignas", options, rng=rng, **more).supernet

    whole = train()
    with pytest.raises(KilledError):
        train(checkpoint=path, progress=kill)
    resumed = train(seed=7, checkpoint=path, resume=True)

    pairs = zip(whole.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
