"""AttentiveNAS: the best (worst) candidate is trained, and scoring changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.nn import functional

from hwnas.errors import RunError
from hwnas.supernet.threads import side_by_side
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.attentive_nas import AttentiveNasBestUp, AttentiveNasWorstUp
from hwnas.training.supernet_training import train_supernet

BOTH = [AttentiveNasBestUp, AttentiveNasWorstUp]
OPTIONS = replace(
    AttentiveNasBestUp.defaults, batch_size=32, augmentation=None, zero_residual_scale=False
)


def make(kind, space, digits, seed=0, executor=None):
    generator = torch.Generator().manual_seed(0)
    rng = np.random.default_rng(seed)
    return kind(TrainingContext(space, digits, OPTIONS, rng, generator, executor=executor))


def first_batch(digits, n=16):
    images, labels = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(images, labels, torch.arange(n), 0, 0.0)


def groups_of(space, count, size=3):
    rows = space.sample(count * size, np.random.default_rng(5))
    found = list(map(space.architecture, rows))
    return [found[i * size : (i + 1) * size] for i in range(count)]


@pytest.mark.parametrize(("kind", "extreme"), [(BOTH[0], min), (BOTH[1], max)])
def test_the_trained_one_has_the_extreme_loss_of_its_group(space, digits, kind, extreme):
    recipe, batch = make(kind, space, digits), first_batch(digits)
    groups = groups_of(space, 4)

    def loss(path):
        with torch.no_grad():
            return functional.cross_entropy(recipe.supernet(batch.images, path), batch.labels)

    chosen = recipe.preferred(groups, batch)

    assert all(path in group for path, group in zip(chosen, groups, strict=True))
    for path, group in zip(chosen, groups, strict=True):
        assert loss(path) == extreme(map(loss, group))
        assert len({float(loss(each)) for each in group}) > 1


@pytest.mark.parametrize("kind", BOTH)
def test_scoring_leaves_weights_and_gradients_as_they_are(space, digits, kind):
    recipe, batch = make(kind, space, digits), first_batch(digits)
    before = [p.detach().clone() for p in recipe.supernet.parameters()]

    recipe.draw(batch)

    after = list(recipe.supernet.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)
    assert not list(recipe.supernet.buffers())  # no running statistics that could move


def test_threads_score_without_gradients_and_alike(space, digits):
    batch, groups = first_batch(digits), groups_of(space, 3)
    alone = make(AttentiveNasBestUp, space, digits).preferred(groups, batch)

    with side_by_side() as executor:
        recipe = make(AttentiveNasBestUp, space, digits, executor=executor)
        seen = executor.submit(recipe._loss, groups[0][0], batch).result()
        together = recipe.preferred(groups, batch)

    assert isinstance(seen, float)
    assert together == alone


@pytest.mark.parametrize("kind", BOTH)
def test_four_networks_are_trained_on_a_batch(space, digits, kind):
    paths = make(kind, space, digits).draw(first_batch(digits))

    assert paths[:2] == [space.largest(), space.smallest()]
    assert len(paths) == 4


def test_a_single_candidate_is_a_draw_from_the_bins(space, digits):
    class Single(AttentiveNasBestUp):
        candidates = 1

    recipe, batch = make(Single, space, digits), first_batch(digits)
    bins = recipe._bins

    rows = [path.row() for _ in range(400) for path in recipe.draw(batch)[2:]]

    rounded = bins.rounded_macs(np.array(rows))
    counts = np.array([(rounded == centre).sum() for centre in bins.centres_macs])
    common = bins.shares * len(rows) >= 5
    observed = np.append(counts[common], len(rows) - counts[common].sum())
    expected = np.append(bins.shares[common], bins.shares[~common].sum()) * len(rows)
    keep = expected > 0
    assert chisquare(observed[keep], expected[keep]).pvalue > 1e-3


def test_children_learn_from_the_largest_alone(space, digits):
    batch = first_batch(digits)
    paths = [space.largest(), space.smallest()]
    other = replace(batch, labels=(batch.labels + 1) % 10)

    first, second = (
        make(AttentiveNasBestUp, space, digits).step(paths, each) for each in (batch, other)
    )

    assert first["loss_others"] == second["loss_others"]


@pytest.mark.parametrize("kind", BOTH)
def test_a_broken_and_resumed_training_equals_an_unbroken_one(space, digits, kind, tmp_path):
    class KilledError(Exception):
        pass

    def kill(epoch, epochs, metrics):
        if epoch == 1:
            raise KilledError

    digits = replace(digits, x_train=digits.x_train[:64], y_train=digits.y_train[:64])

    def train(seed, **more):
        options = replace(OPTIONS, epochs=2)
        rng = np.random.default_rng(seed)
        return train_supernet(space, digits, kind, options, rng=rng, **more)

    path = tmp_path / "supernet.pt"
    with pytest.raises(KilledError):
        train(0, checkpoint=path, progress=kill)
    resumed, unbroken = train(99, checkpoint=path, resume=True), train(0)

    pairs = zip(resumed.supernet.parameters(), unbroken.supernet.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("state", [{}, {"table_seed": "0"}, {"table_seed": -1}])
def test_a_state_without_a_seed_is_refused(space, digits, state):
    with pytest.raises(RunError, match="seed of its table"):
        make(AttentiveNasBestUp, space, digits).restore(state)
