"""The native selection routines against their NumPy twins and against known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hwnas import _core
from hwnas.testing.oracles import dominance as oracle
from hwnas.testing.oracles import variation as variation_oracle

# Few values, so that ties and duplicates are common; NaN and infinities among them.
coarse = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, 0.5, np.inf, -np.inf])
coarse_or_nan = st.one_of(coarse, coarse, st.just(np.nan))


@st.composite
def judged(draw, values=coarse_or_nan, largest_m=5):
    n = draw(st.integers(0, 24))
    m = draw(st.integers(1, largest_m))
    objectives = draw(arrays.arrays(np.float64, (n, m), elements=values))
    excess = st.sampled_from([-1.0, 0.0, 0.0, 0.0, 0.5, 1.0, np.inf, np.nan])
    violation = draw(st.none() | arrays.arrays(np.float64, n, elements=excess))
    return objectives, violation


@given(judged())
def test_ranks_agree_with_the_definition(case):
    objectives, violation = case

    found = _core.non_dominated_sort(objectives, violation)

    assert found.dtype == np.int32
    assert np.array_equal(found, oracle.non_dominated_sort(objectives, violation))


@given(judged())
def test_crowding_agrees_with_the_definition(case):
    objectives, violation = case
    ranks = _core.non_dominated_sort(objectives, violation)

    found = _core.crowding_distance(objectives, ranks)

    np.testing.assert_allclose(found, oracle.crowding_distance(objectives, ranks), rtol=1e-12)


@given(judged(), st.integers(0, 30))
def test_survivors_agree_with_the_definition(case, keep):
    objectives, violation = case

    found = _core.nsga2_survive(objectives, violation, keep)

    for array, wanted in zip(
        found, oracle.nsga2_survive(objectives, violation, keep), strict=True
    ):
        assert array.dtype == wanted.dtype
        np.testing.assert_allclose(array, wanted, rtol=1e-12)


@given(judged(), st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order_of_the_rows(case, random):
    objectives, violation = case
    order = list(range(len(objectives)))
    random.shuffle(order)
    moved = None if violation is None else violation[order]

    found = _core.non_dominated_sort(objectives[order], moved)

    assert np.array_equal(found, _core.non_dominated_sort(objectives, violation)[order])


@pytest.mark.parametrize("m", [1, 2, 3, 4, 6])
def test_ranks_agree_with_the_definition_on_many_distinct_rows(m):
    objectives = np.random.default_rng(m).random((150, m))

    found = _core.non_dominated_sort(objectives)

    assert np.array_equal(found, oracle.non_dominated_sort(objectives))


@given(
    st.integers(1, 4).flatmap(
        lambda m: st.tuples(
            arrays.arrays(
                np.float64,
                st.tuples(st.integers(0, 7), st.just(m)),
                elements=st.integers(-2, 6).map(float),
            ),
            arrays.arrays(np.float64, m, elements=st.integers(0, 6).map(float)),
        )
    )
)
def test_hypervolume_counts_the_dominated_cells(case):
    points, reference = case

    found = _core.hypervolume(points, reference)

    assert found == pytest.approx(oracle.hypervolume(points, reference), abs=1e-9)


@pytest.mark.parametrize("m", range(1, 7))
def test_hypervolume_of_one_point_is_its_box(m):
    point = np.linspace(0.1, 0.6, m)[None]

    assert _core.hypervolume(point, np.ones(m)) == pytest.approx(np.prod(1 - point))


@pytest.mark.parametrize("m", range(2, 7))
def test_hypervolume_of_unit_vectors_is_known(m):
    # Below (2, ..., 2) they leave out of each box of side 2 only the unit cube at the origin.
    assert _core.hypervolume(np.eye(m), np.full(m, 2.0)) == pytest.approx(2.0**m - 1)


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_hypervolume_of_a_straight_front_is_known(n):
    x = (np.arange(n) + 0.5) / n
    points = np.stack([x, 1 - x], axis=1)
    # Each point adds a step of width 1/n; the last one is half a step wide.
    wanted = sum(
        (1 - value) * width
        for value, width in zip(1 - x, np.r_[[1 / n] * (n - 1), 0.5 / n], strict=True)
    )

    assert _core.hypervolume(points, np.ones(2)) == pytest.approx(wanted)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_a_further_objective_that_is_constant_scales_the_hypervolume(m):
    points = np.random.default_rng(m).random((30, m))
    raised = np.column_stack([points, np.full(30, 0.25)])

    found = _core.hypervolume(raised, np.ones(m + 1))

    assert found == pytest.approx(0.75 * _core.hypervolume(points, np.ones(m)))


def test_hypervolume_of_no_points_is_zero():
    assert _core.hypervolume(np.empty((0, 3)), np.ones(3)) == 0


def test_hypervolume_refuses_nan_and_an_endless_reference():
    with pytest.raises(ValueError, match="NaN"):
        _core.hypervolume(np.array([[np.nan, 0.0]]), np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        _core.hypervolume(np.zeros((1, 2)), np.array([1.0, np.inf]))


@st.composite
def breeding(draw):
    d = draw(st.sampled_from([1, 2, 5, 64, 65, 130]))
    n = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    option_counts = rng.choice(np.array([1, 2, 3, 7, 255], np.uint8), size=d)
    return {
        "population": rng.integers(option_counts, size=(n, d), dtype=np.uint8),
        "ranks": rng.integers(3, size=n, dtype=np.int32),
        "crowding": rng.choice([0.0, 0.5, np.inf], size=n),
        "option_counts": option_counts,
        "words": rng.integers(2**64, size=4, dtype=np.uint64),
        "count": draw(st.integers(0, 12)),
        "crossover_probability": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "mutation_probability": draw(st.sampled_from([0.0, 0.01, 0.5, 1.0])),
        "crossover": draw(st.sampled_from(["uniform", "two-point"])),
    }


@given(breeding())
def test_children_agree_with_the_twin_bit_for_bit(case):
    found = _core.vary(**case)

    assert found.dtype == np.uint8
    assert np.array_equal(found, variation_oracle.vary(**case))
    assert (found < case["option_counts"]).all()


CHILDREN_OF_SEED_1234 = [[2, 0, 2, 0], [0, 2, 0, 1], [2, 2, 0, 1]]


def test_children_of_one_seed_are_these_on_every_platform():
    children = _core.vary(
        population=np.arange(12, dtype=np.uint8).reshape(3, 4) % 3,
        ranks=np.array([0, 0, 1], np.int32),
        crowding=np.array([1.0, 2.0, 3.0]),
        option_counts=np.full(4, 3, np.uint8),
        words=np.array([1, 2, 3, 4], np.uint64),
        count=3,
        crossover_probability=0.5,
        mutation_probability=0.25,
    )

    assert children.tolist() == CHILDREN_OF_SEED_1234


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crossover": "threesome"}, "unknown crossover"),
        ({"mutation_probability": 1.5}, "mutation_probability"),
        ({"crossover_probability": float("nan")}, "crossover_probability"),
        ({"ranks": np.zeros(3, np.int32)}, "ranks"),
        ({"option_counts": np.zeros(2, np.uint8)}, "0 options"),
        (
            {
                "population": np.zeros((0, 2), np.uint8),
                "ranks": np.zeros(0, np.int32),
                "crowding": np.zeros(0),
            },
            "empty population",
        ),
    ],
)
def test_vary_refuses_what_does_not_fit(change, message):
    fitting = {
        "population": np.zeros((2, 2), np.uint8),
        "ranks": np.zeros(2, np.int32),
        "crowding": np.zeros(2),
        "option_counts": np.full(2, 3, np.uint8),
        "words": np.arange(4, dtype=np.uint64),
        "count": 2,
        "crossover_probability": 0.5,
        "mutation_probability": 0.5,
        "crossover": "uniform",
    }

    with pytest.raises(ValueError, match=message):
        _core.vary(**(fitting | change))


def test_arrays_of_another_type_or_layout_are_refused_rather_than_copied():
    with pytest.raises(TypeError):
        _core.non_dominated_sort(np.zeros((3, 2), np.float32))
    with pytest.raises(TypeError):
        _core.non_dominated_sort(np.zeros((2, 6))[:, ::2])


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(0, 80), st.just(3)), elements=st.integers(0, 3)),
    st.integers(0, 40),
)
def test_a_row_set_holds_the_first_of_each_row(rows, limit):
    seen: dict[tuple[int, ...], int] = {}
    wanted = [seen.setdefault(tuple(row), len(seen)) for row in rows.tolist()]
    whole, part = _core.RowSet(3), _core.RowSet(3)

    fresh = whole.insert(rows)
    taken = part.take_new(rows, limit)

    assert np.array_equal(whole.find(rows), wanted)
    assert np.array_equal(whole.rows(), rows[fresh])
    assert len(whole) == len(seen)
    assert np.array_equal(taken, whole.rows()[:limit])
    assert np.array_equal(part.rows(), taken)
    assert not whole.insert(rows).any()


def test_a_row_set_tells_many_rows_apart():
    rows = np.random.default_rng(0).integers(7, size=(50_000, 21), dtype=np.uint8)
    row_set = _core.RowSet(21)

    fresh = row_set.insert(rows)

    assert len(row_set) == len(np.unique(rows, axis=0)) == fresh.sum()
    assert np.array_equal(row_set.find(rows[fresh]), np.arange(len(row_set)))


def test_a_row_set_refuses_rows_of_another_width():
    with pytest.raises(ValueError, match="expected 3"):
        _core.RowSet(3).insert(np.zeros((2, 4), np.uint8))
    with pytest.raises(ValueError, match="width 0"):
        _core.RowSet(0)
