"""What rows of published tables mean."""

import csv

import numpy as np
import pytest

from hwnas.costs import Cost, CostTable, Source
from hwnas.costs.published import (
    PUBLISHED,
    block_costs,
    kind_of,
    network_latencies,
    own_rows,
    published_costs,
)
from hwnas.costs.published_file import read_published_file
from hwnas.costs.table import COST_FIELDS
from hwnas.errors import TableError
from hwnas.spaces import get_space

KEY, PRINT, TAKEN = "0" * 32, "f" * 16, "2026-01-31T12:00:00+00:00"
ROW = (KEY, PRINT, "ort 1", "latency_s", 2.0, 1.0, 3.0, 0.5, 7, 1, "measured", TAKEN)


@pytest.fixture
def read(tmp_path):
    def write(*rows):
        path = tmp_path / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        return read_published_file(path)

    return write


@pytest.fixture(scope="module")
def space():
    return get_space("mbconv-digits")


@pytest.fixture(scope="module")
def layers():
    return get_space("fbnet-cifar")


def slot(space, block, choice):
    return space.fragment([b.name for b in space.blocks].index(block), choice).key


def test_the_header_tells_the_kind(read):
    assert kind_of(read(COST_FIELDS, ROW)) == "rows"
    assert kind_of(read(("block", "choice", "latency_ms"), ("a", 0, 1))) == "blocks"
    assert kind_of(read(("arch", "latency_ms"), ("0 1", 1))) == "networks"
    assert kind_of(read(("a.operator", "latency_s"), (0, 1))) == "networks"
    for header in (("block", "choice", "time"), ("device", "block_key", "latency_ms")):
        with pytest.raises(TableError, match="has the columns"):
            kind_of(read(header, ("a", 0, 1)))


def test_rows_of_hwnas_come_back_as_they_were(read):
    assert own_rows(read(COST_FIELDS, ROW)) == [Cost(*ROW)]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("key", "xyz"),
        ("fingerprint", "F" * 16),
        ("runtime", ""),
        ("runtime", "a\nb"),
        ("metric", "speed"),
        ("value", "0"),
        ("value", "-2"),
        ("value", "nan"),
        ("value", "9"),
        ("low", "inf"),
        ("spread", "-0.1"),
        ("repeats", "1.5"),
        ("outliers", "-1"),
        ("provenance", "guessed"),
        ("taken", "yesterday"),
        ("taken", "2026-01-31"),
    ],
)
def test_a_wrong_cell_of_a_row_is_refused_by_name(read, column, cell):
    row = list(ROW)
    row[COST_FIELDS.index(column)] = cell

    with pytest.raises(TableError, match=rf"row \d: {column} is"):
        own_rows(read(COST_FIELDS, ROW, row))


def test_blocks_are_found_by_name_number_choice_and_decisions(read, space):
    first = slot(space, "stage1.1", (1, 0, 1))
    by_choice = read(("block", "choice", "latency_ms"), ("stage1.1", 5, 2), (0, 5, 2))
    by_name = read(
        ("block", "stage1.1.kernel", "stage1.1.expand", "squeeze_excite", "latency_ms"),
        ("stage1.1", 1, 0, "True", 2),
    )

    for file in (by_choice, by_name):
        costs, idle = block_costs(file, space)

        assert idle == 0
        assert {key: cost.value for key, cost in costs.items()} == {first: 0.002}


def test_an_option_is_named_as_it_is_printed(read, layers):
    file = read(
        ("block", "choice", "latency_ms", "note"),
        ("stage1.1", "k5_e6", 4, "x"),
        ("stem", "", 1, ""),
        ("head", 0, 2, ""),
    )

    costs, _ = block_costs(file, layers)

    operator = layers.decisions[0].options.index("k5_e6")
    keys = (slot(layers, "stage1.1", (operator,)), slot(layers, "stem", ()))
    assert [costs[key].value for key in keys] == [0.004, 0.001]
    assert len(costs) == 3


def test_equal_blocks_in_several_places_have_one_cost_with_its_spread(read, layers):
    file = read(
        ("block", "choice", "latency_ms"),
        *((f"stage2.{position}", "k3_e6", ms) for position, ms in ((2, 4), (3, 5), (4, 9))),
        ("stage2.2", "skip", 0.01),
    )

    costs, idle = block_costs(file, layers)

    (cost,) = costs.values()
    assert idle == 1
    assert cost.rows == 3
    assert (cost.value, cost.low, cost.high) == pytest.approx((0.005, 0.004, 0.009))


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (("block", "choice"), ("stage9", 0), "row 2: mbconv-digits has no block 'stage9'"),
        (("block", "choice"), (99, 0), "no block '99'"),
        (("block", "choice"), ("stage1.1", 12), "no choice '12': 0 to 11"),
        (("block", "choice"), ("stage1.1", "k"), "no choice 'k'"),
        (("block", "kernel"), ("stage1.1", 0), "reads 'stage1.1.expand': add that column"),
        (("block", "choice", "space"), ("stage1.1", 0, "darts"), "space is 'darts'"),
    ],
)
def test_a_row_that_is_of_no_block_is_refused(read, space, header, row, message):
    with pytest.raises(TableError, match=message):
        block_costs(read((*header, "latency_ms"), (*row, 1)), space)


def test_networks_are_lists_or_columns_of_numbers_or_names(read, layers):
    rng = np.random.default_rng(0)
    wanted = layers.sample(3, rng)
    names = [decision.name for decision in layers.decisions]
    options = [
        [decision.options[i] for decision, i in zip(layers.decisions, row, strict=True)]
        for row in wanted.tolist()
    ]
    files = (
        lambda: read(("arch", "latency_ms"), *((" ".join(map(str, r)), 1) for r in wanted)),
        lambda: read(("arch", "latency_ms"), *((" ".join(r), 1) for r in options)),
        lambda: read((*names, "latency_ms"), *((*r, 1) for r in options)),
    )

    for make in files:
        population, latency_s = network_latencies(make(), layers)

        assert np.array_equal(population, wanted)
        assert latency_s.tolist() == [0.001] * 3


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("0 1", "row 2: arch has 2 options, fbnet-cifar has 22"),
        (" ".join(["9"] * 22), "no option '9': 0 to 8"),
        (" ".join(["k7_e6"] * 22), "no option 'k7_e6'"),
    ],
)
def test_a_row_that_is_of_no_network_is_refused(read, layers, arch, message):
    with pytest.raises(TableError, match=message):
        network_latencies(read(("arch", "latency_ms"), (arch, 1)), layers)


def test_a_missing_column_of_a_decision_is_named(read, layers):
    with pytest.raises(TableError, match=r"no column for decision 'stage1\.1\.operator'"):
        network_latencies(read(("other.operator", "latency_ms"), ("skip", 1)), layers)


def test_costs_come_from_the_one_published_source_that_is_complete(tmp_path, space):
    def rows(runtime, keys):
        return [
            Cost(key, PRINT, runtime, metric, 1.0, 1.0, 1.0, 0.0, 1, 0, "published", TAKEN)
            for key in keys
            for metric in ("latency_s", "energy_j")
        ]

    keys = sorted(
        {
            space.fragment(block, choice).key
            for block in range(len(space.blocks))
            for choice in space.slots(block)
        }
    )
    with CostTable(tmp_path / "costs.sqlite") as table:
        table.put(rows("ort 1", keys))
        assert published_costs(space, table, PRINT) is None
        table.put(rows(f"{PUBLISHED}half", keys[::2]))
        assert published_costs(space, table, PRINT) is None
        table.put(rows(f"{PUBLISHED}one", keys))
        found = published_costs(space, table, PRINT)
        assert found.source == Source(PRINT, "published: one")
        assert found.provenance[0] == "published"
        assert published_costs(space, table, "e" * 16) is None
        table.put(rows(f"{PUBLISHED}two", keys))
        with pytest.raises(TableError, match="from 'one', 'two'"):
            published_costs(space, table, PRINT)
