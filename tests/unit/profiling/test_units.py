import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.graph import count_graph
from hwnas.profiling.units import (
    Unit,
    carriers,
    describe_kernel,
    has_branches,
    spread_networks,
    units_of,
)
from hwnas.spaces import available_spaces, get_space
from hwnas.testing.space_conformance import fragments_of


@pytest.fixture(scope="module", params=available_spaces())
def space(request):
    return get_space(request.param)


def test_units_are_the_distinct_blocks_that_do_something(space):
    units = units_of(space)

    for row in space.sample(10, np.random.default_rng(0)):
        for fragment in fragments_of(space, space.architecture(row)):
            assert fragment.is_empty or fragment.key in units
    for key, unit in units.items():
        assert unit.fragment.key == key
        assert not unit.fragment.is_empty
        for block, choice in unit.occurrences[:3]:
            assert space.fragment(block, choice).key == key


def test_carriers_hold_every_unit_and_are_few(space):
    units = units_of(space)

    chosen = carriers(space, units, np.random.default_rng(0))

    held = {f.key for a in chosen for f in fragments_of(space, a)}
    assert set(units) <= held
    alone = [  # of a block's units, each needs an architecture of its own
        len({space.fragment(block, choice).key for choice in space.slots(block)})
        for block in range(len(space.blocks))
    ]
    assert len(chosen) <= max(len(units) / 2, max(alone))
    assert carriers(space, units, np.random.default_rng(0)) == chosen
    assert carriers(space, {}, np.random.default_rng(0)) == []


def test_networks_are_distinct_and_go_from_small_to_large(space):
    growth = []
    for seed in range(3):
        population = spread_networks(space, 16, np.random.default_rng(seed))
        work = [count_graph(space.network(space.architecture(row))).macs for row in population]

        assert len(np.unique(population, axis=0)) == len(population) >= 14
        assert np.array_equal(space.canonicalise(population), population)
        assert population[0].tolist() == space.smallest().row().tolist()
        assert population[-1].tolist() == space.largest().row().tolist()
        growth.append(np.corrcoef(np.arange(len(work)), work)[0, 1])
    assert np.mean(growth) > 0.6


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_networks_can_be_asked_for(n):
    space = get_space("mbconv-digits")

    assert spread_networks(space, n, np.random.default_rng(0)).shape == (n, 30)


def test_a_kernel_is_described_by_what_it_does():
    space = get_space("mbconv-digits")
    fragment = space.fragment(1, ())

    found = describe_kernel(fragment.key, fragment.graph)

    assert found.key == fragment.key
    assert found.signature.startswith("1x1x32x32 Conv3s2-BN-Relu 1x16x16x16")
    assert found.macs == 16 * 16 * 16 * 9


def test_a_unit_in_no_architecture_is_named_instead_of_sought_for_ever():
    space = get_space("mbconv-digits")
    units = units_of(space)
    unit = next(iter(units.values()))
    unreachable = {"0" * 32: Unit(unit.fragment, unit.occurrences)}

    with pytest.raises(SpaceError, match="is in no canonical architecture"):
        carriers(space, unreachable, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cells-digits", True), ("darts", True), ("mbconv-digits", False), ("ofa-mbv3", False)],
)
def test_cells_branch_and_chains_do_not(name, expected):
    assert has_branches(get_space(name)) == expected
