"""Once-for-All: phases, what each may draw, the teacher, sorted channels between the phases."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.errors import SpaceError
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.supernet.kernel_transform import KernelTransformSupernet
from hwnas.training.options import learning_rate_at
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.ofa import Ofa, phases_of
from hwnas.training.supernet_training import train_supernet

QUICK = replace(
    Ofa.defaults, epochs=8, batch_size=16, augmentation=None, zero_residual_scale=False
)


def make(space, digits, options=QUICK, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Ofa(TrainingContext(space, digits, options, np.random.default_rng(seed), generator))


def batch_of(digits, epoch=0, n=16):
    images, labels = torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])
    return Batch(images, labels, torch.arange(n), epoch, epoch / QUICK.epochs)


def wrong(supernet, architecture, digits):
    statistics = supernet.calibrate(architecture, torch.from_numpy(digits.x_train))
    logits = supernet.logits(architecture, torch.from_numpy(digits.x_val), statistics)
    return float((logits.argmax(1).numpy() != digits.y_val).mean())


class Observed(Ofa):
    """Notes the errors of the largest and the smallest sub-net at the end of the first phase."""

    before: tuple[float, float]

    def begin_epoch(self, epoch):
        if epoch == self.phases[0].epochs:
            space, data = self.space, self.context.dataset
            Observed.before = tuple(
                wrong(self.supernet, a, data) for a in (space.largest(), space.smallest())
            )
        return super().begin_epoch(epoch)


def test_shrinking_makes_the_smallest_far_better_and_the_largest_little_worse(space, digits):
    options = replace(QUICK, epochs=6)
    trained = train_supernet(space, digits, Observed, options, rng=np.random.default_rng(0))

    largest, smallest = (
        wrong(trained.supernet, a, digits) for a in (space.largest(), space.smallest())
    )
    assert smallest < 0.75 * Observed.before[1]
    assert largest < Observed.before[0] + 0.05
    assert largest < 0.3


def test_the_phases_follow_each_other_and_fill_the_epochs():
    phases = phases_of(get_space("ofa-mbv3"), 605)

    assert [phase.name for phase in phases] == [
        "full",
        "kernel",
        "depth 1",
        "depth 2",
        "expand 1",
        "expand 2",
    ]
    assert [phase.epochs for phase in phases] == [180, 125, 25, 125, 25, 125]
    assert [phase.paths for phase in phases] == [1, 1, 2, 2, 4, 4]
    assert phases[0].rate == 1.0
    assert [p.rate / phases[1].rate for p in phases[2:]] == pytest.approx([1 / 12, 1 / 4] * 2)


@pytest.mark.parametrize("epochs", [2, 3, 4, 5, 6, 10, 37])
def test_any_number_of_epochs_is_divided_and_ends_with_all_sub_nets(epochs):
    space = get_space("ofa-mbv3")
    phases = phases_of(space, epochs)

    assert sum(phase.epochs for phase in phases) == epochs
    assert min(phase.epochs for phase in phases) >= 1
    assert (phases[0].name, phases[-1].name) == ("full", "expand 2")
    assert [len(options) for options in phases[-1].options] == space.option_counts.tolist()


def test_phases_that_would_allow_the_same_are_one(space):
    # two depths and two expansions: the first steps are already all of it
    assert [p.name for p in phases_of(space, 10)] == ["full", "kernel", "depth 2", "expand 2"]


def test_every_phase_allows_all_that_the_one_before_allowed():
    for before, after in pairwise(phases_of(get_space("ofa-mbv3"), 100)):
        pairs = zip(before.options, after.options, strict=True)
        assert all(set(few) <= set(many) for few, many in pairs)
        assert before.options != after.options


def test_each_phase_draws_from_its_options_alone_and_uses_all_of_them(digits):
    space = get_space("mbconv-digits")

    class Sampler(Ofa):
        def make_supernet(self):
            return torch.nn.Linear(1, 1)

    options = replace(QUICK, epochs=20)
    context = TrainingContext(
        space, digits, options, np.random.default_rng(0), torch.Generator().manual_seed(0)
    )
    recipe = Sampler(context)
    names = [decision.name for decision in space.decisions]

    for start, phase in zip(recipe._starts, recipe.phases, strict=True):
        drawn = [recipe.draw(batch_of(digits, start)) for _ in range(150)]
        assert {len(paths) for paths in drawn} == {phase.paths}
        rows = np.array([path.indices for paths in drawn for path in paths])
        for column, name in enumerate(names):
            if name.endswith(".depth") or ".1." in name:  # never inactive
                assert set(rows[:, column]) == set(phase.options[column]), (phase.name, name)


def test_a_sub_net_of_depth_two_runs_only_two_blocks(digits):
    space = get_space("mbconv-digits")
    supernet = KernelTransformSupernet(space, torch.Generator().manual_seed(0))
    depths = {f"stage{stage}.depth": 2 for stage in (1, 2, 3)}
    shallow = space.from_options(space.options(space.largest()) | depths)
    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    before = supernet(x, shallow)

    with torch.no_grad():
        for name, parameter in supernet.shared_parameters().items():
            if name.split("/")[0] in {f"stage{stage}.3" for stage in (1, 2, 3)}:
                parameter.fill_(float("nan"))

    torch.testing.assert_close(supernet(x, shallow), before)
    assert supernet(x, space.largest()).isnan().any()


def at_second_phase(space, digits, **changes):
    recipe = make(space, digits, replace(QUICK, **changes))
    start = recipe.phases[0].epochs
    assert recipe.begin_epoch(start)
    return recipe, start


def test_the_first_phase_learns_from_labels_and_the_others_from_the_teacher_too(space, digits):
    recipe, start = at_second_phase(space, digits)
    batch = batch_of(digits, start)
    path = space.smallest()
    weights = recipe.supernet.weights(space.largest())
    teacher = TorchModule(space.network(space.largest()), weights).train()
    with torch.no_grad():
        logits = recipe.supernet(batch.images, path)
        predicted = teacher(batch.images).softmax(1)
    labels = functional.cross_entropy(logits, batch.labels, label_smoothing=0.1)
    both = labels + functional.cross_entropy(logits, predicted)

    with_teacher = recipe.step([path], batch)
    without = make(space, digits).step([path], batch)

    assert with_teacher["loss"] == pytest.approx(both.item(), rel=1e-4)
    assert without["loss"] == pytest.approx(labels.item(), rel=1e-4)


def test_the_teacher_stays_what_it_was_while_the_supernet_learns(space, digits):
    recipe, start = at_second_phase(space, digits)
    teacher = {name: value.clone() for name, value in recipe.state()["teacher"].items()}

    recipe.step([space.largest()], batch_of(digits, start))
    with torch.no_grad():
        for parameter in recipe.supernet.parameters():
            parameter += 1.0
    assert recipe.begin_epoch(start + recipe.phases[1].epochs)

    found = recipe.state()["teacher"]
    assert found.keys() == teacher.keys()
    assert all(torch.equal(found[name], teacher[name]) for name in teacher)


def test_channels_are_sorted_only_when_widths_become_elastic(space, digits):
    recipe = make(space, digits)
    starts = dict(zip([p.name for p in recipe.phases], recipe._starts, strict=True))
    weight = recipe.supernet.shared_parameters()["block.1/project/weight"]
    unsorted = weight.detach().clone()

    for epoch in range(1, starts["expand 2"]):
        assert recipe.begin_epoch(epoch) == (epoch in starts.values())
    assert torch.equal(weight, unsorted)
    assert recipe.begin_epoch(starts["expand 2"])

    sums = weight.detach().abs().sum((0, 2, 3))
    assert torch.all(sums[:-1] >= sums[1:])
    assert not torch.equal(weight, unsorted)


def test_every_phase_has_its_own_schedule(space, digits):
    recipe = make(space, digits, replace(QUICK, epochs=20))

    for start, phase in zip(recipe._starts, recipe.phases, strict=True):
        for step in range(10 * phase.epochs):
            progress = (start + step / 10) / 20
            expected = phase.rate * learning_rate_at(recipe.options, step / 10 / phase.epochs)
            assert recipe.learning_rate(progress) == pytest.approx(expected, rel=1e-6)
    assert recipe.learning_rate(1.0) > 0


def test_a_space_where_nothing_shrinks_is_refused():
    def source(g):
        return g.input("input", (1, 1, 16, 16))

    def net(g, x, *, active):
        y = g.flatten(g.global_average_pool(g.relu(x) if active else x))
        return g.gemm(y, 10, name="out")

    blocks = (ChoiceBlock("input", source), ChoiceBlock("net", net, {"active": "active"}))
    space = SearchSpace("flat", (Decision("active", (False, True)),), blocks)

    with pytest.raises(SpaceError, match="flat decides on none of them; take another recipe"):
        phases_of(space, 10)


def test_one_epoch_is_refused_and_few_leave_out_the_shortest_phases(caplog):
    space = get_space("ofa-mbv3")

    with pytest.raises(SpaceError, match="give at least 6 for ofa-mbv3"):
        phases_of(space, 1)
    assert [p.name for p in phases_of(space, 4)] == ["full", "kernel", "depth 2", "expand 2"]
    assert "4 epochs are too few for all 6 phases" in caplog.text


def brief(space, digits, seed=0, **more):
    few = replace(digits, x_train=digits.x_train[:128], y_train=digits.y_train[:128])
    options = replace(QUICK, epochs=6, batch_size=64)
    rng = np.random.default_rng(seed)
    return train_supernet(space, few, "ofa", options, rng=rng, **more)


@pytest.fixture(scope="module")
def whole(space, digits):
    return brief(space, digits)


@pytest.mark.parametrize("stop", [2, 5])
def test_a_broken_and_resumed_training_equals_an_unbroken_one(
    space, digits, whole, tmp_path, stop
):
    class KilledError(Exception):
        pass

    def kill(epoch, epochs, metrics):
        if epoch == stop:
            raise KilledError

    path = tmp_path / "supernet.pt"
    assert phases_of(space, 6)[0].epochs == 2  # one break falls between phases, one inside
    with pytest.raises(KilledError):
        brief(space, digits, checkpoint=path, progress=kill)
    resumed = brief(space, digits, seed=7, checkpoint=path, resume=True)

    pairs = zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [row["loss"] for row in resumed.rows] == [row["loss"] for row in whole.rows]
