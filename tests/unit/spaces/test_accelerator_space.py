from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hwnas.errors import SpaceError
from hwnas.spaces import get_hardware_space
from hwnas.spaces.accelerator_space import AcceleratorSpace


@pytest.fixture
def small():
    return AcceleratorSpace(
        "small", 2, ("dla", "shi"), (0, 1, 2), (1, 3), pes_budget=3, bandwidth_budget=4
    )


def chips_of(space, row):
    """The sub-accelerators of a row as a sorted tuple of options, absent ones left out."""
    options = space.options(space.architecture(row))
    subs = []
    for index in range(1, space.sub_accelerators + 1):
        dataflow, pes, bandwidth = (
            options[f"sub{index}.{part}"] for part in ("dataflow", "pes", "bandwidth")
        )
        if pes:
            subs.append((dataflow, pes, bandwidth))
    return tuple(sorted(subs))


@pytest.mark.parametrize("sub_accelerators", [1, 2, 3, 4])
def test_sampled_chips_are_within_budgets_and_canonical(sub_accelerators):
    space = get_hardware_space(f"accelerator@{sub_accelerators}")

    drawn = space.sample(500, np.random.default_rng(0))

    assert space.is_within_budgets(drawn).all()
    np.testing.assert_array_equal(space.canonicalise(drawn), drawn)


@given(rows=hnp.arrays(np.uint8, (7, 6), elements=st.integers(0, 255)))
def test_canonical_form_is_within_budgets_and_its_own_form(rows):
    space = get_hardware_space("accelerator")
    rows = rows % space.option_counts

    canonical = space.canonicalise(rows)

    assert space.is_within_budgets(canonical).all()
    np.testing.assert_array_equal(space.canonicalise(canonical), canonical)


def test_the_order_of_sub_accelerators_means_nothing():
    space = get_hardware_space("accelerator")
    one = space.from_options(
        {
            "sub1.dataflow": "dla", "sub1.pes": 576, "sub1.bandwidth": 56,
            "sub2.dataflow": "shi", "sub2.pes": 1792, "sub2.bandwidth": 8,
        }
    )  # fmt: skip
    other = space.architecture(np.roll(one.row(), 3))

    assert one == other
    assert space.options(one)["sub1.pes"] == 1792


def test_a_chip_within_its_budgets_keeps_its_parts(small):
    for row in product(*(range(count) for count in small.option_counts.tolist())):
        array = np.array([row], dtype=np.uint8)
        if small.is_within_budgets(array)[0]:
            parts = array.reshape(2, 3)
            wanted = tuple(
                sorted(
                    (small.dataflows[d], int(small.pes[p]), int(small.bandwidths[b]))
                    for d, p, b in parts
                    if p
                )
            )
            assert chips_of(small, row) == wanted


def test_cardinality_counts_distinct_chips(small):
    rows = np.array(
        list(product(*(range(count) for count in small.option_counts.tolist()))), dtype=np.uint8
    )

    distinct = np.unique(small.canonicalise(rows), axis=0)

    assert small.cardinality == len(distinct)


def test_an_absent_sub_accelerator_uses_no_bandwidth(small):
    row = small.from_options(
        {
            "sub1.dataflow": "shi", "sub1.pes": 2, "sub1.bandwidth": 3,
            "sub2.dataflow": "shi", "sub2.pes": 0, "sub2.bandwidth": 3,
        }
    )  # fmt: skip

    assert chips_of(small, row.row()) == (("shi", 2, 3),)
    assert row.indices[3:] == (0, 0, 0)


def test_a_chip_without_a_pe_gets_one(small):
    assert chips_of(small, np.zeros(6, dtype=np.uint8)) == (("dla", 1, 1),)


def test_an_empty_population_stays_empty(small):
    empty = np.zeros((0, 6), dtype=np.uint8)

    assert small.canonicalise(empty).shape == (0, 6)
    assert small.sample(0, np.random.default_rng(0)).shape == (0, 6)


@pytest.mark.parametrize("name", ["accelerator@0", "accelerator@5", "accelerator@x", "chip"])
def test_an_unknown_hardware_space_is_refused(name):
    with pytest.raises(SpaceError, match=r"sub-accelerators must be|unknown space of hardware"):
        get_hardware_space(name)


@pytest.mark.parametrize(
    ("pes", "bandwidths", "budgets", "message"),
    [
        ((1, 2), (1,), (2, 2), "needs PEs from 0"),
        ((0, 2, 1), (1,), (2, 2), "do not ascend"),
        ((0, 2), (1,), (1, 2), "do not serve"),
        ((0, 2), (2,), (2, 3), "do not serve"),
    ],
)
def test_impossible_budgets_are_refused(pes, bandwidths, budgets, message):
    with pytest.raises(SpaceError, match=message):
        AcceleratorSpace(
            "x", 2, ("dla",), pes, bandwidths, pes_budget=budgets[0], bandwidth_budget=budgets[1]
        )
