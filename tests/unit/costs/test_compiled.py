import dataclasses

import numpy as np
import pytest

from hwnas.backends import get_backend
from hwnas.costs import CostTable, compile_costs
from hwnas.errors import SpaceError, TableError
from hwnas.graph import count_graph, kernel_key, peak_activation_bytes
from hwnas.profiling import profile_space, source_of
from hwnas.spaces import available_spaces, get_space
from hwnas.targets import get_target
from hwnas.testing.space_conformance import fragments_of

TARGET = get_target("simulated")
SOURCE = source_of(TARGET, get_backend(TARGET))
SPACES = [*available_spaces(), "proxyless-mobile@64"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("costs") / "t.sqlite"
    with CostTable(path) as opened:
        for name in SPACES:
            profile_space(get_space(name), TARGET, opened, rng=np.random.default_rng(0))
        yield opened


@pytest.fixture(scope="module", params=SPACES)
def costs(request, table):
    return compile_costs(get_space(request.param), table, SOURCE)


@pytest.fixture
def digits():
    return get_space("mbconv-digits")


def is_chain(space):
    """Whether every block reads one result only, so that no other is alive."""
    return all(len(space.inputs_of(block)) <= 1 for block in range(len(space.blocks)))


def test_costs_are_the_plain_sum_of_the_blocks(costs, table):
    space = costs.space
    population = space.sample(20, np.random.default_rng(1))
    rows = {metric: table.lookup(SOURCE, metric) for metric in ("latency_s", "energy_j")}
    wanted = []
    for row in population:
        fragments = [f for f in fragments_of(space, space.architecture(row)) if not f.is_empty]
        wanted.append(
            [sum(rows[m][f.key].value for f in fragments) for m in rows]
            + [max(peak_activation_bytes(f.graph) for f in fragments)]
        )

    found = costs.cost(population)
    columns = slice(None if is_chain(space) else 2)
    np.testing.assert_allclose(found[:, columns], np.array(wanted)[:, columns], rtol=1e-6)


def test_costs_are_the_formula_applied_to_the_graphs(costs):
    # Straight from the simulated device's file, without table and keys.
    space = costs.space
    population = space.sample(5, np.random.default_rng(2))
    wanted = []
    for row in population:
        counts = [count_graph(f.graph) for f in fragments_of(space, space.architecture(row))]
        counts = [c for c in counts if c.nodes]
        moved = [c.activation_bytes + c.weight_bytes for c in counts]
        wanted.append(
            sum(1e-6 + max(c.macs, m) / 1e10 for c, m in zip(counts, moved, strict=True))
        )

    np.testing.assert_allclose(costs.cost(population)[:, 0], wanted, rtol=1e-6)


def test_memory_is_the_peak_of_the_whole_network(costs):
    space = costs.space
    population = space.sample(5, np.random.default_rng(3))
    peaks = [peak_activation_bytes(space.network(space.architecture(r))) for r in population]

    found = costs.cost(population)[:, 2]
    if is_chain(space):
        assert found.tolist() == peaks
    else:  # what a later block may read is held, whether it does or not
        assert (found >= peaks).all()
        assert (found <= 1.5 * np.array(peaks)).all()


def test_where_numbers_come_from_is_said(costs):
    assert costs.metrics == ("latency_s", "energy_j", "memory_bytes")
    assert costs.provenance == ("simulated", "simulated", "modelled")
    assert all(fit.networks == 0 for fit in costs.calibration)
    assert costs.constant.tolist() == [0, 0, 0]
    assert [len(s) for s in costs.slots] == [
        len(list(costs.space.slots(b))) for b in range(len(costs.space.blocks))
    ]


def test_one_metric_is_enough(digits, table):
    population = digits.sample(7, np.random.default_rng(0))
    whole = compile_costs(digits, table, SOURCE).cost(population)

    for column, metric in enumerate(("latency_s", "energy_j", "memory_bytes")):
        alone = compile_costs(digits, table, SOURCE, [metric]).cost(population)
        assert np.array_equal(alone, whole[:, column : column + 1])


def test_threads_and_a_buffer_do_not_change_the_result(digits, table):
    costs = compile_costs(digits, table, SOURCE)
    population = digits.sample(1000, np.random.default_rng(0))
    out = np.full((1000, 3), -1, np.float32)

    assert costs.cost(population, out=out, threads=2) is out
    assert np.array_equal(out, costs.cost(population))
    assert costs.cost(population[:0]).shape == (0, 3)


def test_missing_rows_are_counted_and_answered_with_what_to_run(digits, table, tmp_path):
    with CostTable(tmp_path / "t.sqlite") as part:
        part.put(list(table.rows())[:0])
        with pytest.raises(TableError, match="63 of 63 blocks of mbconv-digits have no latency_s"):
            compile_costs(digits, part, SOURCE)
        keys = {f.key for f in fragments_of(digits, digits.smallest())}
        part.put(row for row in table.rows(SOURCE) if row.key in keys)
        with pytest.raises(TableError, match=r"of 63 blocks .* `hwnas profile --space mbconv"):
            compile_costs(digits, part, SOURCE)
    with pytest.raises(TableError, match="have no area_mm2"):
        compile_costs(digits, table, SOURCE, ["area_mm2"])


def test_an_option_out_of_range_is_named_by_row(digits, table):
    costs = compile_costs(digits, table, SOURCE)
    population = digits.sample(5, np.random.default_rng(0))
    population[3, 1] = 200

    with pytest.raises(SpaceError, match=r"population of mbconv-digits: .*row 3, column 1: 200"):
        costs.cost(population)
    with pytest.raises(TypeError):
        costs.cost(population.astype(np.int64))


def test_measured_networks_calibrate_their_metric_only(digits, table, tmp_path):
    a, b, c = 2e-5, 1.25, 3e-6
    plain = compile_costs(digits, table, SOURCE)
    population = digits.sample(12, np.random.default_rng(5))
    with CostTable(tmp_path / "t.sqlite") as calibrated:
        calibrated.merge(table)
        sums = plain.cost(population)[:, 0].astype(np.float64)
        like = next(calibrated.rows(SOURCE, "latency_s"))
        rows, networks = [], {}
        for row, total in zip(population, sums, strict=True):
            architecture = digits.architecture(row)
            blocks = sum(not f.is_empty for f in fragments_of(digits, architecture))
            key = kernel_key(digits.network(architecture), context="network")
            value = a + b * float(total) + c * blocks
            rows.append(dataclasses.replace(like, key=key, value=value))
            networks[architecture.indices] = key
        calibrated.put(rows)
        calibrated.put_networks(digits.name, {**networks, (0,): "of an older version"})

        costs = compile_costs(digits, calibrated, SOURCE)

    fitted, untouched, _ = costs.calibration
    assert fitted.networks == 12
    assert (fitted.constant, fitted.slope, fitted.per_kernel) == pytest.approx((a, b, c), rel=0.02)
    assert untouched.networks == 0
    np.testing.assert_allclose(
        costs.cost(population)[:, 0], [row.value for row in rows], rtol=1e-5
    )


def test_the_weakest_provenance_speaks_for_the_metric(digits, table, tmp_path):
    with CostTable(tmp_path / "t.sqlite") as mixed:
        rows = [
            dataclasses.replace(row, provenance="measured")
            for row in table.rows(SOURCE, "latency_s")
        ]
        mixed.put(rows)
        assert compile_costs(digits, mixed, SOURCE, ["latency_s"]).provenance == ("measured",)
        used = fragments_of(digits, digits.smallest())[1].key
        mixed.put(
            dataclasses.replace(row, provenance="modelled") for row in rows if row.key == used
        )
        assert compile_costs(digits, mixed, SOURCE, ["latency_s"]).provenance == ("modelled",)
