import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hwnas.errors import BudgetError, RunError, SpaceError
from hwnas.search import Front

NAMES = ("error", "latency_s")


def front_of(objectives, violation=None, names=NAMES):
    population = np.arange(len(objectives), dtype=np.uint8)[:, None] + np.zeros(3, np.uint8)
    return Front.of(population, objectives, violation, names)


@st.composite
def candidates(draw):
    n = draw(st.integers(0, 20))
    m = draw(st.integers(1, 3))
    small = st.integers(0, 4).map(float) | st.just(np.nan)
    return (
        draw(arrays.arrays(np.uint8, (n, 2), elements=st.integers(0, 3))),
        draw(arrays.arrays(np.float64, (n, m), elements=small)),
        draw(
            arrays.arrays(np.float64, n, elements=st.sampled_from([-1.0, 0.0, 0.0, 1.0, np.nan]))
        ),
        ("error", "latency_s", "energy_j")[:m],
    )


@given(candidates(), st.randoms(use_true_random=False))
def test_front_does_not_depend_on_the_order_of_the_candidates(case, random):
    population, objectives, violation, names = case
    order = list(range(len(population)))
    random.shuffle(order)

    moved = Front.of(population[order], objectives[order], violation[order], names)

    assert moved == Front.of(population, objectives, violation, names)


@given(candidates(), st.integers(0, 2))
def test_front_is_stable_under_increasing_rescaling_of_one_objective(case, which):
    population, objectives, violation, names = case
    rescaled = objectives.copy()
    rescaled[:, which % len(names)] = np.exp(rescaled[:, which % len(names)]) - 7

    front = Front.of(population, objectives, violation, names)

    assert np.array_equal(
        Front.of(population, rescaled, violation, names).population, front.population
    )


@given(candidates())
def test_front_holds_what_the_definition_asks_for(case):
    population, objectives, violation, names = case
    usable = (violation <= 0) & ~np.isnan(objectives).any(axis=1)
    rows = objectives[usable]
    wanted = {
        tuple(row)
        for row in rows
        if not any((other <= row).all() and (other < row).any() for other in rows)
    }

    front = Front.of(population, objectives, violation, names)

    assert [tuple(row) for row in front.objectives] == sorted(
        wanted, key=lambda row: (*row[1:], row[0])
    )


@given(candidates())
def test_merging_a_front_with_itself_or_with_a_part_changes_nothing(case):
    population, objectives, violation, names = case
    front = Front.of(population, objectives, violation, names)
    half = len(population) // 2
    part = Front.of(population[:half], objectives[:half], violation[:half], names)
    rest = Front.of(population[half:], objectives[half:], violation[half:], names)

    assert front.merge(front) == front
    assert part.merge(rest) == front == rest.merge(part)


@given(candidates())
def test_rows_written_to_csv_read_back_exactly(case):
    population, objectives, violation, names = case
    front = Front.of(population, objectives / 3, violation, names)
    file = io.StringIO()
    writer = csv.DictWriter(file, ["architecture", *names])
    writer.writeheader()
    writer.writerows(front.to_rows())
    file.seek(0)

    assert Front.from_rows(csv.DictReader(file), names, 2) == front


def test_front_ignores_duplicate_points():
    front = Front.of(
        np.array([[2, 0], [1, 9], [1, 9], [0, 0]], np.uint8),
        [[1, 1], [1, 1], [1, 1], [0, 2]],
        None,
        NAMES,
    )

    assert front.population.tolist() == [[1, 9], [0, 0]]


def test_members_are_sorted_from_the_fastest_to_the_most_accurate():
    front = front_of([[0.1, 3.0], [0.3, 1.0], [0.2, 2.0], [0.3, 3.0]])

    assert front.objectives[:, 1].tolist() == [1, 2, 3]


def test_a_front_cannot_be_written_to():
    front = front_of([[0.1, 3.0]])

    with pytest.raises(ValueError, match="read-only"):
        front.objectives[0, 0] = 0


def test_hypervolume_is_that_of_the_members():
    front = front_of([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [0.8, 0.8]])

    assert front.hypervolume((1, 1)) == pytest.approx(0.375)
    assert front_of(np.empty((0, 2))).hypervolume((1, 1)) == 0


def test_adding_a_dominated_candidate_does_not_change_the_hypervolume():
    members = [[0.25, 0.75], [0.75, 0.25]]

    assert front_of([*members, [0.9, 0.9]]).hypervolume((1, 1)) == front_of(members).hypervolume(
        (1, 1)
    )


def test_the_knee_is_furthest_from_the_chord():
    front = front_of([[1.0, 0.0], [0.5, 0.45], [0.2, 0.3], [0.0, 1.0]])

    assert front.objectives[front.pick("knee")].tolist() == [0.2, 0.3]


def test_scaling_and_shifting_an_objective_moves_no_knee():
    objectives = np.array([[1.0, 0.0], [0.5, 0.2], [0.2, 0.3], [0.0, 1.0]])

    assert front_of(objectives).pick() == front_of(objectives * [7, 1e-3] + [3, 5]).pick()


def test_the_knee_of_a_straight_or_bulging_front_is_the_fastest_end():
    assert front_of([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]).pick("knee") == 0
    assert front_of([[0.0, 1.0], [0.8, 0.8], [1.0, 0.0]]).pick("knee") == 0
    assert front_of([[0.0, 1.0]]).pick("knee") == 0


def test_picks_by_name_find_the_ends():
    front = front_of([[0.1, 3.0], [0.3, 1.0], [0.2, 2.0]])

    assert front.objectives[front.pick("fastest")].tolist() == [0.3, 1.0]
    assert front.objectives[front.pick("best")].tolist() == [0.1, 3.0]


def test_picks_by_number_count_from_either_end():
    front = front_of([[0.1, 3.0], [0.3, 1.0], [0.2, 2.0]])

    assert [front.pick(1), front.pick("2"), front.pick(-1)] == [1, 2, 2]


@pytest.mark.parametrize("which", ["slowest", 3, -4, "3", ""])
def test_picking_what_is_not_there_is_an_error(which):
    with pytest.raises(RunError, match="cannot pick"):
        front_of([[0.1, 3.0], [0.3, 1.0], [0.2, 2.0]]).pick(which)


def test_picking_by_an_objective_that_was_not_minimised_is_an_error():
    front = front_of([[0.1, 3.0]], names=("error", "energy_j"))

    with pytest.raises(RunError, match="energy_j"):
        front.pick("fastest")


def test_picking_from_an_empty_front_says_that_no_budget_was_met():
    with pytest.raises(BudgetError, match="empty"):
        front_of([[0.1, 3.0]], violation=[1.0]).pick()


def test_fronts_of_other_objectives_do_not_merge():
    with pytest.raises(SpaceError, match="cannot merge"):
        front_of([[0, 1]]).merge(front_of([[0, 1]], names=("error", "energy_j")))


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"architecture": "1-2-3", "error": "0.1"},
        {"architecture": "1-x-3", "error": "0.1", "latency_s": "1"},
        {"architecture": "1-2", "error": "0.1", "latency_s": "1"},
        {"architecture": "1-2-256", "error": "0.1", "latency_s": "1"},
        {"architecture": "1-2-3", "error": "low", "latency_s": "1"},
    ],
)
def test_malformed_rows_are_errors(row):
    with pytest.raises(RunError, match="row 0"):
        Front.from_rows([row], NAMES, 3)


def test_objectives_that_do_not_match_their_names_are_an_error():
    with pytest.raises(SpaceError, match="shape"):
        front_of([[1, 2, 3]])
