"""ShiftNAS: bins that shift to the under-trained, masks of nested options, resuming."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from hwnas.errors import RunError, SpaceError
from hwnas.spaces import SearchSpace, get_space
from hwnas.training.cost_bins import mac_bins
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.shift_nas import IMPORTANCE_SHARE, ShiftNas, prefix_mask
from hwnas.training.supernet_training import train_supernet

QUICK = TrainingOptions(epochs=3, learning_rate=0.1, augmentation=None, zero_residual_scale=False)


@pytest.fixture(autouse=True)
def _short_lesson(monkeypatch):
    monkeypatch.setattr("hwnas.training.recipes.shift_nas.FIT_STEPS", 20)


def make(space, digits, seed=0, options=QUICK):
    generator = torch.Generator().manual_seed(seed)
    return ShiftNas(
        TrainingContext(space, digits, options, np.random.default_rng(seed), generator)
    )


def batch(digits, n=16):
    x, y = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(x, y, torch.arange(n), 0, 0.0)


def test_the_mask_of_an_option_is_one_up_to_it():
    masks = torch.stack([prefix_mask(one_hot) for one_hot in torch.eye(3)])

    assert masks.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_a_larger_option_collects_the_gradients_of_all_masks_below_it():
    one_hot = torch.eye(3)[1].requires_grad_()

    (prefix_mask(one_hot) * torch.tensor([1.0, 10.0, 100.0])).sum().backward()

    assert one_hot.grad.tolist() == [1.0, 11.0, 111.0]


def test_paths_fall_flat_over_the_bins_before_any_norm_is_known(digits):
    space = get_space("mbconv-digits")
    bins, recipe = mac_bins(space), make(get_space("mbconv-digits"), digits)

    rows = np.array([recipe.draw(batch(digits))[0].indices for _ in range(120)], np.uint8)

    assert chisquare(np.bincount(bins.bin_of(rows), minlength=len(bins))).pvalue > 1e-4


def test_bins_with_larger_validation_gradients_are_drawn_more_often(space, digits):
    recipe = make(space, digits)
    norms = torch.tensor([1.0] * 7 + [9.0], dtype=torch.float64)
    recipe.restore({**recipe.state(), "norms": norms})
    bins = mac_bins(space)

    rows = np.array([recipe.draw(batch(digits))[0].indices for _ in range(200)], np.uint8)

    share = IMPORTANCE_SHARE * 9 / 16 + (1 - IMPORTANCE_SHARE) / 8
    assert recipe.bin_probabilities[-1] == pytest.approx(share)
    assert (bins.bin_of(rows) == 7).mean() == pytest.approx(share, abs=0.12)


def test_the_end_of_an_epoch_measures_every_bin_without_touching_the_weights(space, digits):
    recipe = make(space, digits)
    before = [p.detach().clone() for p in recipe.supernet.parameters()]

    recipe.end_epoch(0)
    first = recipe.state()["norms"]
    recipe.end_epoch(1)
    second = recipe.state()["norms"]

    assert (first > 0).all()
    assert (second != first).any()
    assert all(
        torch.equal(a, b) for a, b in zip(before, recipe.supernet.parameters(), strict=True)
    )


def test_bins_stay_uniform_in_the_first_tenth_of_the_epochs(space, digits):
    recipe = make(space, digits, options=replace(QUICK, epochs=30))

    recipe.end_epoch(0)
    early = recipe.bin_probabilities
    recipe.end_epoch(2)

    assert early == pytest.approx(np.full(8, 1 / 8))
    assert recipe.bin_probabilities != pytest.approx(np.full(8, 1 / 8))


def test_the_task_s_loss_teaches_the_generator_to_drop_what_does_harm(space, digits):
    recipe, found = make(space, digits), batch(digits)
    path = space.largest()
    recipe.step([path], found)
    column = 2  # expansion of the first block
    one_hots = [torch.eye(int(k))[[int(k) - 1]].requires_grad_() for k in space.option_counts]

    recipe._task_loss(path, one_hots).backward()

    stored = recipe.supernet.shared_parameters()
    own = {n: p.detach() * p.grad for n, p in stored.items() if n.startswith("block.1/")}
    half = {"expand/weight": 0, "depthwise/weight": 0, "project/weight": 1, "excite/weight": 0}
    extra = 0.0
    for name, product in own.items():
        local = name.removeprefix("block.1/")
        whole = recipe.supernet.block_plan(2, (2, 1)).weight_shapes[local]
        small = recipe.supernet.block_plan(2, (2, 0)).weight_shapes[local]
        axes = [axis for axis, (a, b) in enumerate(zip(whole, small, strict=True)) if a != b]
        assert axes[:1] == [half[local]] if local in half else True
        inside = product[tuple(slice(0, side) for side in small)]
        extra += float(product.sum() - inside.sum())
    gradient = one_hots[column].grad[0]
    assert float(gradient[1] - gradient[0]) == pytest.approx(extra, abs=1e-5)


def test_the_generator_takes_one_step_for_every_draw(space, digits):
    recipe, found = make(space, digits), batch(digits)

    def weights():
        return {name: value.clone() for name, value in recipe.state()["generator"].items()}

    states = [weights()]
    for paths in (recipe.draw(found), [space.largest()]):  # the second was not drawn
        recipe.step(paths, found)
        states.append(weights())

    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(torch.equal(states[1][name], states[2][name]) for name in states[1])


def test_a_resumed_run_is_the_unbroken_run(space, digits, tmp_path):
    few = replace(digits, x_train=digits.x_train[:96], y_train=digits.y_train[:96])

    def killed(epoch, *_):
        if epoch == 2:
            raise InterruptedError

    def run(name, **more):
        rng = np.random.default_rng(3)
        return train_supernet(
            space, few, ShiftNas, QUICK, rng=rng, checkpoint=tmp_path / name, **more
        )

    whole = run("whole")
    with pytest.raises(InterruptedError):
        run("part", progress=killed)
    resumed = run("part", resume=True)

    for a, b in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [row["loss"] for row in whole.rows] == [row["loss"] for row in resumed.rows]


def test_a_damaged_state_and_a_space_of_one_cost_are_refused(space, digits):
    recipe = make(space, digits)
    fixed = SearchSpace("fixed", (), tuple(block for block in space.blocks if not block.decisions))

    with pytest.raises(RunError, match="damaged"):
        recipe.restore({"norms": torch.zeros(8)})
    with pytest.raises(RunError, match="norms of 3 bins"):
        recipe.restore({**recipe.state(), "norms": torch.zeros(3)})
    with pytest.raises(SpaceError, match="fixed into 8 bins"):
        make(fixed, digits)
