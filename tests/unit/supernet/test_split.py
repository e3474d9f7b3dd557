"""A split supernet is one supernet for every part, and parts hold every architecture once."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import RunError, SpaceError
from hwnas.estimators.supernet_estimator import SupernetEstimator
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import Architecture, get_space
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.separate import SeparateSupernet
from hwnas.supernet.split import Part, SplitSupernet
from hwnas.training.checkpoint import load_supernet, save_checkpoint

KERNEL = "block.1.kernel"
THIRDS = ({"depth": (0,)}, {"depth": (1,), KERNEL: (0,)}, {"depth": (1,), KERNEL: (1, 2)})


def make_split(space, allowed=THIRDS):
    members = [
        (SeparateSupernet if i == 1 else ElasticSupernet)(space, torch.Generator().manual_seed(i))
        for i in range(len(allowed))
    ]
    return SplitSupernet(space, members, [Part(space, each) for each in allowed])


@pytest.fixture
def supernet(space):
    return make_split(space)


def all_rows(space):
    return np.array(list(product(*(range(int(n)) for n in space.option_counts))), dtype=np.uint8)


def images(n, seed=0):
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_every_row_is_in_exactly_one_part_and_moves_to_no_other_in_canonical_form(supernet, space):
    rows = all_rows(space)
    canonical = space.canonicalise(rows)

    held = np.array([[part.holds(row) for part in supernet.parts] for row in rows])
    held_canonical = np.array([[part.holds(row) for part in supernet.parts] for row in canonical])

    assert (held.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(held, held_canonical)
    assert held.any(axis=0).all()


def test_members_are_found_by_the_decisions_of_their_parts(supernet, space):
    for row in space.sample(40, np.random.default_rng(0)):
        architecture = space.architecture(row)
        options = space.options(architecture)
        expected = 0 if options["depth"] == 1 else 1 if options[KERNEL] == 3 else 2

        assert supernet.member_of(architecture) == expected


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_drawing_inside_a_part_never_leaves_it_and_reaches_all_of_it(space, seed):
    part = Part(space, {"depth": (1,), KERNEL: (0, 2)})
    rows = space.canonicalise(part.rows(64, np.random.default_rng(seed)))

    assert all(part.holds(row) for row in rows)
    assert set(rows[:, 1].tolist()) == {0, 2}


def test_a_decision_can_be_restricted_only_where_it_is_always_active(space):
    inner = "block.2.kernel"
    whole, deep = Part(space, {}), Part(space, {"depth": (1,)})

    assert inner not in whole.divisible()
    assert "depth" in whole.divisible()
    assert inner in deep.divisible()
    assert "depth" not in deep.divisible()
    assert deep.restricted(inner, (2, 1)).allowed == {"depth": (1,), inner: (1, 2)}
    with pytest.raises(SpaceError, match=r"block\.2\.kernel.*inactive"):
        whole.restricted(inner, (1, 2))


def test_divisible_decisions_of_mbconv_digits_are_those_of_blocks_that_are_always_there():
    space = get_space("mbconv-digits")
    expected = [d.name for d in space.decisions if ".2." not in d.name and ".3." not in d.name]

    assert list(Part(space, {}).divisible()) == expected
    deep = Part(space, {"stage2.depth": (1, 2)})
    assert "stage2.2.expand" in deep.divisible()
    assert "stage2.3.expand" not in deep.divisible()


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        (({"depth": (0,)}, {"depth": (0, 1)}), "in common"),
        (({"depth": (0,)}, {"depth": (1,), KERNEL: (0, 1)}), "every architecture needs a part"),
        (({"depth": (2,)}, {"depth": (0, 1)}), "ascending"),
        (({"depth": ()}, {"depth": (0, 1)}), "ascending"),
        (({"width": (0,)}, {"depth": (0, 1)}), "'width'"),
    ],
)
def test_parts_that_are_no_partition_are_refused(space, allowed, message):
    with pytest.raises(SpaceError, match=message):
        make_split(space, allowed)


def test_an_architecture_of_another_space_is_refused(supernet):
    with pytest.raises(SpaceError, match="'other'"):
        supernet(images(2), Architecture("other", (0, 0, 0, 0, 0)))


def test_a_sub_net_runs_in_its_member_and_trains_no_other(supernet, space):
    x = images(8)
    for index, part in enumerate(supernet.parts):
        architecture = space.architecture(part.rows(1, np.random.default_rng(index))[0])
        supernet.zero_grad(set_to_none=True)

        found = supernet(x, architecture)
        found.sum().backward()

        torch.testing.assert_close(found, supernet.members[index](x, architecture))
        for name, parameter in supernet.shared_parameters().items():
            if not name.startswith(f"{index}/"):
                assert parameter.grad is None


def test_cut_weights_give_the_same_logits_in_the_network_of_the_space(supernet, space):
    x = images(32)
    for part in supernet.parts:
        architecture = space.architecture(part.rows(1, np.random.default_rng(5))[0])
        statistics = supernet.calibrate(architecture, images(64, seed=1))

        weights = supernet.weights(architecture, statistics)
        module = TorchModule(space.network(architecture), weights).eval()

        with torch.no_grad():
            theirs = module(x)
        ours = supernet.logits(architecture, x, statistics)
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_the_estimator_judges_a_sub_net_as_its_member_does(supernet, space, digits):
    data = replace(digits, x_val=digits.x_val[:64], y_val=digits.y_val[:64])
    rows = np.stack([p.rows(1, np.random.default_rng(2))[0] for p in supernet.parts])
    rows = space.canonicalise(rows)

    found = SupernetEstimator(supernet, data, calibration_images=64).cross_entropy(rows)

    for row, member, value in zip(rows, supernet.members, found, strict=True):
        alone = SupernetEstimator(member, data, calibration_images=64)
        assert alone.cross_entropy(row[None])[0] == value
    assert len(set(found.tolist())) == len(found)


def test_weights_of_a_block_without_its_architecture_are_refused(supernet):
    with pytest.raises(SpaceError, match="member_of"):
        supernet.block_weights(2, (0, 0))


def test_a_checkpoint_brings_back_parts_members_and_weights(supernet, space, tmp_path):
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, {"space": space.name}, supernet, [])

    again = load_supernet(path, space)

    assert isinstance(again, SplitSupernet)
    assert [part.allowed for part in again.parts] == list(THIRDS)
    assert [member.sharing for member in again.members] == ["elastic", "separate", "elastic"]
    x = images(4)
    for row in space.sample(6, np.random.default_rng(0)):
        architecture = space.architecture(row)
        assert torch.equal(again(x, architecture), supernet(x, architecture))


@pytest.mark.parametrize(
    "members",
    [
        None,
        [1],
        [{"part": {"depth": [0]}, "sharing": "elastic", "structure": {}}],
        [{"part": {"depth": ["x"]}, "sharing": "elastic", "structure": {}}],
        [{"part": {}, "sharing": "unheard-of", "structure": {}}],
        [{"part": {}, "sharing": "elastic"}],
    ],
)
def test_a_structure_that_does_not_fit_is_refused(space, members):
    with pytest.raises(RunError):
        SplitSupernet.from_structure(space, {"members": members})
