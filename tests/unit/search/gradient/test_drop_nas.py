import numpy as np
import pytest
import torch

from hwnas.search.gradient.drop_nas import DropNas


class OftenDropped(DropNas):
    GROUP_DROP_RATE = 0.2


@pytest.fixture
def strategy(cell_problem):
    return OftenDropped(cell_problem())


def draw_with_losses(strategy):
    rng = np.random.default_rng(0)
    kept = strategy.draw_kept(rng)
    while bool(kept.all()):
        kept = strategy.draw_kept(rng)
    return kept


def test_groups_are_the_operations_that_convolve_and_the_others_with_none(strategy):
    assert [group.tolist() for group in strategy.groups] == [
        [False, False, True, False],
        [True, True, False, True],
    ]
    assert strategy.drop_rates == pytest.approx([0.2 ** (1 / 3)] * 2 + [0.2, 0.2 ** (1 / 3)])


def test_every_group_keeps_one_at_least(strategy):
    rng = np.random.default_rng(0)
    for _ in range(200):
        kept = strategy.draw_kept(rng)
        for group in strategy.groups:
            assert bool(kept[:, group].any(1).all())


def test_the_drop_rate_is_that_of_the_group_given_that_one_is_left(strategy):
    rng = np.random.default_rng(0)
    draws = torch.stack([strategy.draw_kept(rng) for _ in range(1500)]).double()

    found = 1.0 - draws.mean((0, 1))

    rate = 0.2 ** (1 / 3)
    left = (rate - rate**3) / (1 - rate**3)
    error = 4 * 0.5 / (1500 * draws.shape[1]) ** 0.5
    assert found[[0, 1, 3]].tolist() == pytest.approx([left] * 3, abs=error)
    assert found[2] == 0.0  # alone in its group


def test_the_published_rate_is_seven_percent_in_groups_of_four():
    rate = DropNas.GROUP_DROP_RATE ** (1 / 4)

    assert rate == pytest.approx(0.074, abs=5e-4)


@pytest.mark.parametrize("steps", [1, 5])
def test_an_update_keeps_the_probabilities_of_what_was_dropped(strategy, steps):
    kept = draw_with_losses(strategy)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        before = strategy.distribution.parameters.detach().clone()
        p = strategy.distribution.probabilities().detach()
        gradient = torch.randn(before.shape, generator=generator, dtype=torch.float64)
        strategy.update(gradient, kept)

    after = strategy.distribution.parameters.detach()
    assert torch.equal(after[~kept], before[~kept])
    difference = strategy.distribution.probabilities().detach() - p
    assert float(difference[~kept].abs().max()) < 1e-12
    assert float(difference[kept].abs().max()) > 1e-4


def test_the_shift_is_the_published_formula(strategy):
    kept = draw_with_losses(strategy)
    row = int((~kept).any(1).nonzero()[0])
    before = strategy.distribution.parameters.detach().clone()
    moved = DropNas(strategy.problem)
    moved.distribution.restore(before)
    gradient = torch.randn(
        before.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )

    strategy.update(gradient, kept)
    moved.update(gradient, torch.ones_like(kept))

    plain = moved.distribution.parameters.detach()[row]
    stays = kept[row]
    rho = float(before[row].softmax(0)[stays].sum())
    dropped, left = before[row][~stays].exp().sum(), plain[stays].exp().sum()
    shift = float(torch.log(rho / (1 - rho) * dropped / left))
    wanted = (plain[stays] + shift).tolist()
    assert strategy.distribution.parameters[row][stays].tolist() == pytest.approx(wanted)


def test_a_step_leaves_dropped_weights_alone_in_spite_of_momentum_and_decay(strategy):
    kept = draw_with_losses(strategy)
    kept[:, 2] = True
    kept[0, 2] = False
    edge = strategy.distribution.slots.edges[0]
    batch = next(strategy._loop.batches(torch.arange(16), 0))
    everything = torch.ones_like(kept)
    strategy.one_level_step(batch, everything)
    strategy._optimiser.step()
    dropped = strategy.cells.parameters_of(edge, 2)
    others = strategy.cells.parameters_of(strategy.distribution.slots.edges[1], 2)
    before = [[p.detach().clone() for p in group] for group in (dropped, others)]

    strategy.one_level_step(batch, kept)
    strategy._optimiser.step()

    assert dropped
    assert all(map(torch.equal, dropped, before[0]))
    assert not any(map(torch.equal, others, before[1]))


def test_gradients_of_dropped_candidates_are_zero_and_cost_reaches_the_others(cell_problem):
    strategy = OftenDropped(cell_problem(weight=100.0))
    kept = draw_with_losses(strategy)
    batch = next(strategy._loop.batches(torch.arange(16), 0))

    metrics, gradient = strategy.one_level_step(batch, kept)

    assert float(gradient[~kept].abs().max()) == 0.0
    assert metrics["loss_with_cost"] != metrics["loss"]
    both = kept[:, 2] & kept[:, 1]
    assert (gradient[both, 2] > gradient[both, 1]).all()


def test_parts_of_a_batch_make_one_update(cell_problem):
    whole = DropNas(cell_problem(epochs=1, learning_rate=0.0))
    parts = DropNas(cell_problem(epochs=1, learning_rate=0.0, accumulate=2))
    updates = []
    for strategy in (whole, parts):
        update = strategy.update

        def counted(gradient, kept, update=update):
            updates.append(gradient.clone())
            update(gradient, kept)

        strategy.update = counted
        strategy.epoch(0)

    assert len(updates) == 8
    # Each part is normalised by itself, so the gradients are near and not equal.
    cosine = torch.cosine_similarity(updates[0].flatten(), updates[4].flatten(), 0)
    assert float(cosine) > 0.9
    assert not torch.equal(updates[0], updates[4])


def test_an_update_that_is_not_finite_is_left_out(strategy):
    before = strategy.distribution.parameters.detach().clone()
    gradient = torch.full_like(before, torch.inf)

    strategy.update(gradient, torch.ones_like(before, dtype=torch.bool))

    assert torch.equal(strategy.distribution.parameters.detach(), before)
