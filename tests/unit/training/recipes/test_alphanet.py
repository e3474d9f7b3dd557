"""AlphaNet: who learns from what, and the limit on the gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.training.divergence import alpha_divergence
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.alphanet import AlphaNet
from hwnas.training.supernet_training import train_supernet

OPTIONS = replace(AlphaNet.defaults, batch_size=32, augmentation=None, zero_residual_scale=False)


def make(space, digits):
    generator = torch.Generator().manual_seed(0)
    return AlphaNet(TrainingContext(space, digits, OPTIONS, np.random.default_rng(0), generator))


def first_batch(digits, n=16):
    images, labels = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(images, labels, torch.arange(n), 0, 0.0)


def gradients(recipe, paths, batch):
    metrics = recipe.step(paths, batch)
    return metrics, [p.grad for p in recipe.supernet.parameters()]


def test_the_loss_of_children_is_the_larger_divergence_from_the_largest(space, digits):
    recipe, batch = make(space, digits), first_batch(digits)
    paths = [space.largest(), space.smallest()]
    with torch.no_grad():
        teacher, logits = (recipe.supernet(batch.images, path) for path in paths)

    metrics, _ = gradients(recipe, paths, batch)

    both = torch.stack([alpha_divergence(logits, teacher, alpha, 5.0) for alpha in (-1.0, 1.0)])
    assert metrics["loss_others"] == pytest.approx(both.max(0).values.mean().item(), rel=1e-4)


def test_children_see_no_labels(space, digits):
    batch = first_batch(digits)
    paths = [space.largest(), space.smallest()]
    other = replace(batch, labels=(batch.labels + 1) % 10)

    first, second = (make(space, digits).step(paths, each) for each in (batch, other))

    assert first["loss_others"] == second["loss_others"]
    assert first["loss"] != second["loss"]


def test_the_largest_learns_nothing_from_its_children(space, digits):
    batch = first_batch(digits)
    alone, together = make(space, digits), make(space, digits)

    _, own = gradients(alone, [space.largest()], batch)
    _, both = gradients(together, [space.largest(), space.smallest()], batch)

    names = list(alone.supernet.shared_parameters())
    only_of_largest = [i for i, name in enumerate(names) if name.startswith("block.2/")]
    assert all(torch.equal(own[i], both[i]) for i in only_of_largest)
    assert any(not torch.equal(a, b) for a, b in zip(own, both, strict=True))


def test_four_networks_are_trained_on_a_batch(space, digits):
    paths = make(space, digits).draw(first_batch(digits))

    assert paths[:2] == [space.largest(), space.smallest()]
    assert len(paths) == 4


def test_entries_of_the_gradient_are_clipped(space, digits):
    class Steep(AlphaNet):
        def objective(self, index, logits, teacher, batch):
            return 1000.0 * super().objective(index, logits, teacher, batch)

    def last_gradient(options):
        trained = train_supernet(space, digits, Steep, options, rng=np.random.default_rng(0))
        return max(p.grad.abs().max().item() for p in trained.supernet.parameters())

    digits = replace(digits, x_train=digits.x_train[:32], y_train=digits.y_train[:32])
    options = replace(OPTIONS, epochs=1, learning_rate=1e-3)

    assert last_gradient(options) == 1.0
    assert last_gradient(replace(options, gradient_clip_value=None)) > 10.0
