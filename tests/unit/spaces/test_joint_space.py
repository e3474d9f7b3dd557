import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.search import Nsga2, PopulationSpace
from hwnas.spaces import JointSpace, get_hardware_space, get_space


@pytest.fixture
def joint():
    return JointSpace([get_space("mbconv-digits"), get_hardware_space("accelerator")])


def test_split_is_the_inverse_of_join(joint):
    drawn = joint.sample(9, np.random.default_rng(0))

    parts = joint.split(drawn)

    np.testing.assert_array_equal(joint.join(parts), drawn)
    assert [part.shape[1] for part in parts] == [30, 6]


def test_canonical_form_is_that_of_each_part(joint):
    rng = np.random.default_rng(1)
    rows = rng.integers(0, joint.option_counts, size=(20, 36), dtype=np.uint8)

    parts = joint.split(joint.canonicalise(rows))

    for space, part, raw in zip(joint.spaces, parts, joint.split(rows), strict=True):
        np.testing.assert_array_equal(part, space.canonicalise(raw))


def test_cardinality_is_the_product(joint):
    assert joint.cardinality == joint.spaces[0].cardinality * joint.spaces[1].cardinality


def test_a_space_that_stands_twice_is_told_apart():
    space = get_space("mbconv-digits")

    twice = JointSpace([space, space])

    assert twice.decisions[0].name == "1.mbconv-digits/stage1.depth"
    assert twice.decisions[-1].name.startswith("2.mbconv-digits/")


def test_strategies_search_joint_spaces(joint):
    strategy = Nsga2(joint, rng=np.random.default_rng(0), population_size=8)

    asked = strategy.ask()

    assert isinstance(joint, PopulationSpace)
    assert asked.shape == (8, 36)


def test_nothing_to_join_is_refused():
    with pytest.raises(SpaceError, match="no space to join"):
        JointSpace([])
