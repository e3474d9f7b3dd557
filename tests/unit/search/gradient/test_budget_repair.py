from itertools import product

import numpy as np
import pytest

from hwnas.costs import Calibration, CompiledCosts, Source, count_costs
from hwnas.errors import QuantityError, SpaceError
from hwnas.search import Budget, Budgets
from hwnas.search.gradient.budget_repair import repair, shrink_path
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace, get_space

METRICS = ("latency_s", "energy_j", "memory_bytes")


def _never(*_, **__):
    raise AssertionError("a space is costed without emitting anything")


def _random_costs(seed):
    """A few stages of optional blocks; costs follow no order, the last metric is a maximum."""
    rng = np.random.default_rng(seed)
    decisions, blocks, slots = [], [ChoiceBlock("stem", _never)], [np.full((1, 3), 0.1)]
    for stage in range(2):
        depth = f"{stage}.depth"
        decisions.append(Decision(depth, (1, 2)))
        for at in (1, 2):
            reads = {part: f"{stage}.{at}.{part}" for part in ("kernel", "expand")}
            decisions += [Decision(d, tuple(range(rng.integers(1, 4)))) for d in reads.values()]
            gate = Presence(depth, at) if at > 1 else None
            blocks.append(ChoiceBlock(f"{stage}.{at}", _never, reads, present=gate))
    space = SearchSpace(f"random{seed}", tuple(decisions), tuple(blocks))
    for index in range(1, len(blocks)):
        values = rng.uniform(0.1, 2.0, (len(list(space.slots(index))), 3))
        if blocks[index].present is not None:
            values[: len(values) // 2] = 0.0
        slots.append(values)
    calibration = (Calibration(),) * 3
    provenance = ("simulated",) * 3
    constant = np.zeros(3)
    source = Source("0", "random")
    return CompiledCosts(space, source, METRICS, provenance, calibration, tuple(slots), constant)


def _all_rows(space):
    rows = np.array(list(product(*map(range, space.option_counts))), np.uint8)
    return np.unique(space.canonicalise(rows), axis=0)


def _preference(space, seed):
    rng = np.random.default_rng(seed)
    return [np.log(rng.dirichlet(np.ones(int(k)))) for k in space.option_counts]


def _violation(costs, budgets, population):
    return budgets.violation(costs.cost(population).astype(np.float64), costs.metrics)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("metrics", [METRICS[:1], METRICS[:2], METRICS])
def test_feasible_whenever_any_architecture_is(seed, metrics):
    costs = _random_costs(seed)
    space = costs.space
    rows = _all_rows(space)
    every = costs.cost(rows).astype(np.float64)
    rng = np.random.default_rng(seed)
    for trial in range(6):
        # Limits of a random architecture (feasible), a little less (often not), or far less.
        at = every[rng.integers(len(rows))]
        limits = at * (1.0 + 1e-6, 0.97, 0.8)[trial % 3]
        budgets = Budgets(tuple(Budget(m, float(limits[METRICS.index(m)])) for m in metrics))
        possible = (_violation(costs, budgets, rows) <= 0).any()
        start = rows[rng.integers(len(rows))]

        found = repair(start, costs, budgets, _preference(space, trial), rng)

        assert (found is not None) == possible
        if found is not None:
            assert _violation(costs, budgets, found[None])[0] == 0
            assert found.dtype == np.uint8
            assert np.array_equal(space.canonicalise(found[None])[0], found)


def test_a_row_within_the_budgets_stays():
    costs = _random_costs(0)
    row = costs.space.sample(1, np.random.default_rng(0))[0]
    limit = float(costs.cost(row[None])[0, 0])

    budgets = Budgets((Budget("latency_s", limit * 1.001),))
    found = repair(row, costs, budgets, _preference(costs.space, 0), np.random.default_rng(0))

    assert np.array_equal(found, row)


def _independent(costs_s):
    """One block a decision, cost of option o of block b `costs_s[b][o]`."""
    decisions = tuple(Decision(f"{b}", tuple(range(len(c)))) for b, c in enumerate(costs_s))
    blocks = tuple(ChoiceBlock(f"{b}", _never, {"o": f"{b}"}) for b in range(len(costs_s)))
    slots = tuple(np.array(c, float)[:, None] for c in costs_s)
    return CompiledCosts(
        SearchSpace("independent", decisions, blocks),
        Source("0", "by hand"),
        ("latency_s",),
        ("simulated",),
        (Calibration(),),
        slots,
        np.zeros(1),
    )


def test_the_change_with_the_least_loss_for_the_saved_cost_is_taken():
    costs = _independent([[1, 4], [1, 4], [1, 4]])
    preference = [[0.0, 3.0], [0.0, 1.0], [0.0, 2.0]]
    rng = np.random.default_rng(0)

    def repaired(limit):
        budgets = Budgets((Budget("latency_s", limit),))
        return repair([1, 1, 1], costs, budgets, preference, rng).tolist()

    assert [repaired(limit) for limit in (12, 9, 6, 3)] == [
        [1, 1, 1],
        [1, 0, 1],
        [1, 0, 0],
        [0, 0, 0],
    ]


def test_needless_changes_are_taken_back():
    # The cheap change goes first by its ratio, then the large one alone suffices.
    costs = _independent([[1.0, 2.0], [1.0, 11.0]])
    preference = [[0.0, 0.1], [0.0, 5.0]]
    budgets = Budgets((Budget("latency_s", 4.0),))

    found = repair([1, 1], costs, budgets, preference, np.random.default_rng(0))

    assert found.tolist() == [1, 0]


def test_a_shared_peak_of_memory_is_lowered_though_no_single_change_helps():
    costs = _independent([[1, 4], [1, 4], [1, 2]])
    peak = CompiledCosts(
        costs.space,
        costs.source,
        ("memory_bytes",),
        costs.provenance,
        costs.calibration,
        costs.slots,
        costs.constant,
    )
    budgets = Budgets((Budget("memory_bytes", 2.0),))

    found = repair([1, 1, 1], peak, budgets, [[0, 1]] * 3, np.random.default_rng(0))

    assert found.tolist() == [0, 0, 1]


def test_rows_may_be_valued_as_a_whole():
    costs = _random_costs(3)
    rows = _all_rows(costs.space)
    table = _preference(costs.space, 1)
    limit = float(np.quantile(costs.cost(rows)[:, 0], 0.3))
    budgets = Budgets((Budget("latency_s", limit),))

    def value(population):
        assert np.array_equal(costs.space.canonicalise(population.copy()), population)
        return np.sum([t[population[:, c]] for c, t in enumerate(table)], axis=0)

    found = repair(rows[-1], costs, budgets, value, np.random.default_rng(0))

    assert costs.cost(found[None])[0, 0] <= limit


def test_options_of_probability_zero_come_last():
    costs = _independent([[1, 4], [1, 4]])
    preference = [[-np.inf, 0.0], [-50.0, 0.0]]
    rng = np.random.default_rng(0)

    one = repair([1, 1], costs, Budgets((Budget("latency_s", 5.0),)), preference, rng)
    both = repair([1, 1], costs, Budgets((Budget("latency_s", 2.0),)), preference, rng)

    assert one.tolist() == [1, 0]
    assert both.tolist() == [0, 0]


def _rising_preference(space, seed):
    """The largest network is the best."""
    return [np.sort(values) for values in _preference(space, seed)]


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_the_repaired_largest_network_of_a_real_space_is_near_its_budget(share):
    costs = count_costs(get_space("mbconv-digits"))
    space = costs.space
    largest = space.largest().row()
    limit = share * float(costs.cost(largest[None])[0, 0])
    budgets = Budgets((Budget("macs", limit),))

    found = repair(largest, costs, budgets, _rising_preference(space, 0), np.random.default_rng(0))

    assert 0.9 * limit < costs.cost(found[None])[0, 0] <= limit


def test_a_path_gets_smaller_down_to_the_share():
    costs = count_costs(get_space("mbconv-digits"))
    largest = costs.space.largest().row()
    limit = 0.7 * float(costs.cost(largest[None])[0, 0])
    budgets = Budgets((Budget("macs", limit),))
    arguments = (largest, costs, budgets, _rising_preference(costs.space, 0))

    path = shrink_path(*arguments, np.random.default_rng(0), share=0.85)

    usage = costs.cost(path)[:, 0].astype(np.float64) / limit
    assert np.array_equal(path[0], repair(*arguments, np.random.default_rng(0)))
    assert len(path) >= 3
    assert (np.diff(usage) < 0).all()
    assert usage[0] <= 1
    assert (usage[:-1] > 0.85).all()
    assert usage[-1] <= 0.85
    assert np.array_equal(costs.space.canonicalise(path.copy()), path)
    short = shrink_path(*arguments, np.random.default_rng(0), share=0.85, most=2)
    assert np.array_equal(short, path[:2])


def test_a_path_ends_where_nothing_is_smaller():
    costs = _independent([[1, 4], [1, 4]])
    budgets = Budgets((Budget("latency_s", 8.0),))
    rng = np.random.default_rng(0)

    assert shrink_path([1, 1], costs, budgets, [[0, 1], [0, 2]], rng, share=0.0).tolist() == [
        [1, 1],
        [0, 1],
        [0, 0],
    ]
    assert shrink_path([1, 0], costs, Budgets(), [[0, 1], [0, 2]], rng).tolist() == [[1, 0]]
    tight = Budgets((Budget("latency_s", 1.0),))
    assert shrink_path([1, 1], costs, tight, [[0, 1], [0, 2]], rng).shape == (0, 2)


def test_what_does_not_fit_is_refused():
    costs = _independent([[1, 4], [1, 4]])
    budgets = Budgets((Budget("latency_s", 5.0),))
    rng = np.random.default_rng(0)

    with pytest.raises(SpaceError, match="preference for 1 decisions; independent has 2"):
        repair([1, 1], costs, budgets, [[0, 1]], rng)
    with pytest.raises(SpaceError, match=r"decision '1': expected \(2,\), found \(1,\)"):
        repair([1, 1], costs, budgets, [[0, 1], [0]], rng)
    with pytest.raises(SpaceError, match="preference is NaN"):
        repair([1, 1], costs, budgets, [[0, 1], [0, np.nan]], rng)
    with pytest.raises(SpaceError, match="option 2 of decision"):
        repair([1, 2], costs, budgets, [[0, 1]] * 2, rng)
    with pytest.raises(QuantityError, match="budget on energy_j"):
        repair([1, 1], costs, Budgets((Budget("energy_j", 1.0),)), [[0, 1]] * 2, rng)
    with pytest.raises(SpaceError, match="share of the budgets is 2"):
        shrink_path([1, 1], costs, budgets, [[0, 1]] * 2, rng, share=2)
