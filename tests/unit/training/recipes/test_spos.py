"""SPOS: uniform paths over separate candidates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.nn import functional

from hwnas.spaces import get_space
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.separate import SeparateSupernet
from hwnas.supernet.view import sub_slices
from hwnas.training.loop import make_optimiser
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.spos import Spos
from hwnas.training.supernet_training import train_supernet

OPTIONS = replace(Spos.defaults, epochs=2, batch_size=64, zero_residual_scale=False)


class Uniform(Spos):
    """The sampler alone, without the weights of a large space."""

    def make_supernet(self):
        return torch.nn.Linear(1, 1)


def make(space, digits, kind=Spos):
    generator = torch.Generator().manual_seed(0)
    return kind(TrainingContext(space, digits, OPTIONS, np.random.default_rng(0), generator))


def first_batch(digits, n=16):
    images, labels = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(images, labels, torch.arange(n), 0, 0.0)


def test_random_paths_hit_every_option_equally(digits):
    space = get_space("mbconv-digits")
    recipe, batch = make(space, digits, Uniform), first_batch(digits)

    rows = np.array([path.indices for _ in range(4000) for path in recipe.draw(batch)])

    assert len(rows) == 4000
    for column, decision in enumerate(space.decisions):
        if decision.name.endswith(".depth") or ".1." in decision.name:  # never inactive
            counts = np.bincount(rows[:, column], minlength=len(decision.options))
            assert chisquare(counts).pvalue > 1e-4


def test_candidates_that_were_not_drawn_stay_bit_identical(space, digits):
    recipe, batch = make(space, digits), first_batch(digits)
    assert isinstance(recipe.supernet, SeparateSupernet)
    options = replace(OPTIONS, weight_decay=0.1)
    optimiser = make_optimiser(list(recipe.supernet.parameters()), options)
    for _ in range(20):  # momentum of many candidates is under way
        recipe.step(recipe.draw(batch), batch)
        optimiser.step()
    stored = recipe.supernet.shared_parameters()
    before = {name: value.detach().clone() for name, value in stored.items()}
    (path,) = recipe.draw(batch)
    chosen = set()
    for block in range(len(space.blocks)):
        choice = tuple(path.indices[column] for column in space.columns_of(block))
        for local in recipe.supernet.block_weights(block, choice):
            chosen.add(recipe.supernet.stored_name(block, choice, local))

    recipe.step([path], batch)
    optimiser.step()

    assert 0 < len(chosen) < len(stored)
    for name, value in stored.items():
        assert torch.equal(before[name], value) == (name not in chosen), name


def test_a_narrow_layer_equals_a_convolution_built_from_the_prefix(space):
    """Channel search by slices, as the paper does it: the elastic supernet's prefix."""
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    stored = supernet.shared_parameters()["block.1/expand/weight"]
    slices = sub_slices(tuple(stored.shape), (16, 8, 1, 1))
    x = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(1))
    own = torch.nn.Conv2d(8, 16, 1, bias=False)
    with torch.no_grad():
        own.weight.copy_(stored[:16])

    narrow = functional.conv2d(x, stored[slices])

    torch.testing.assert_close(narrow, own(x))
    torch.testing.assert_close(narrow, functional.conv2d(x, stored)[:, :16])


def test_the_loss_is_that_of_the_labels(space, digits):
    recipe, batch = make(space, digits), first_batch(digits)
    path = space.largest()
    with torch.no_grad():
        logits = recipe.supernet(batch.images, path)

    metrics = recipe.step([path], batch)

    expected = functional.cross_entropy(logits, batch.labels, label_smoothing=0.1)
    assert metrics == {"loss": pytest.approx(expected.item(), rel=1e-4)}


def test_a_broken_and_resumed_training_equals_an_unbroken_one(space, digits, tmp_path):
    class KilledError(Exception):
        pass

    def kill(epoch, epochs, metrics):
        if epoch == 1:
            raise KilledError

    path = tmp_path / "supernet.pt"

    def train(seed=0, **more):
        rng = np.random.default_rng(seed)
        return train_supernet(space, digits, "spos", OPTIONS, rng=rng, **more).supernet

    whole = train()
    with pytest.raises(KilledError):
        train(checkpoint=path, progress=kill)
    resumed = train(seed=7, checkpoint=path, resume=True)

    pairs = zip(whole.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
