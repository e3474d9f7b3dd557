import csv
import dataclasses
import sqlite3
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.costs import (
    Cost,
    CostTable,
    Source,
    default_table_path,
)
from hwnas.costs.table import COST_FIELDS
from hwnas.errors import TableError
from hwnas.graph import Kernel

SOURCE = Source("0123456789abcdef", "onnxruntime 1")
OTHER = Source("fedcba9876543210", "onnxruntime 1")
KERNEL = Kernel("k0", "1x3x8x8 Conv 1x4x8x8", 100, 200, 300)


def cost(key="k0", metric="latency_s", value=1e-3, taken="2026-01-01T00:00:00+00:00", **change):
    row = Cost(
        key,
        SOURCE.fingerprint,
        SOURCE.runtime,
        metric,
        value,
        0.9 * value,
        1.1 * value,
        0.1 * value,
        30,
        1,
        "measured",
        taken,
    )
    return dataclasses.replace(row, **change)


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "folder" / "costs.sqlite") as opened:
        yield opened


def read_all(path):
    with CostTable(path) as table:
        return list(table.rows()), list(table.kernels())


def reopened(table):
    return CostTable(table.path, create=False)


def test_rows_round_trip_sorted(table):
    rows = [cost("k1"), cost("k0", "energy_j", 2.0), cost("k0")]

    table.put(rows, [KERNEL])

    with reopened(table) as again:
        assert list(again.rows()) == [cost("k0", "energy_j", 2.0), cost("k0"), cost("k1")]
        assert list(again.kernels()) == [KERNEL]
        assert again.lookup(SOURCE, "latency_s") == {"k0": cost("k0"), "k1": cost("k1")}


@settings(deadline=None, max_examples=50)
@given(value=st.floats(allow_nan=False, allow_infinity=False), key=st.text(max_size=20))
def test_any_finite_value_and_key_round_trips_exactly(tmp_path_factory, value, key):
    key = key.replace("\0", "").encode("utf-8", "ignore").decode()
    with CostTable(tmp_path_factory.mktemp("table") / "t.sqlite") as table:
        row = cost(key, value=value, low=value, high=value, spread=abs(value))

        table.put([row])

        assert list(table.rows()) == [row]


def test_a_source_has_only_its_own_rows(table):
    table.put([cost(), cost(fingerprint=OTHER.fingerprint, value=2.0), cost(runtime="tvm 1")])

    assert list(table.lookup(SOURCE, "latency_s").values()) == [cost()]
    assert table.lookup(OTHER, "latency_s")["k0"].value == 2.0
    assert table.lookup(Source("none", "none"), "latency_s") == {}
    assert len(list(table.rows())) == 3


def test_a_row_put_again_is_replaced(table):
    table.put([cost(value=1.0)])
    table.put([cost(value=2.0)])

    assert [row.value for row in table.rows()] == [2.0]


@pytest.mark.parametrize(
    "change",
    [
        {"value": float("nan")},
        {"value": float("inf")},
        {"low": float("nan")},
        {"high": float("inf")},
        {"spread": float("nan")},
        {"provenance": "guessed"},
    ],
)
def test_a_row_that_is_not_a_cost_is_refused_with_all_that_came_with_it(table, change):
    with pytest.raises(TableError, match=r"refused a row of costs\.sqlite"):
        table.put([cost("k1"), cost(**change)], [KERNEL])

    assert list(table.rows()) == []
    assert list(table.kernels()) == []


def test_networks_are_found_by_space(table):
    table.put_networks("s", {(1, 2): "k1", (0, 10): "k0"})
    table.put_networks("other", {(3,): "k2"})

    assert table.networks("s") == {(0, 10): "k0", (1, 2): "k1"}
    assert table.networks("none") == {}


def test_samples_come_back_by_session_in_the_order_they_were_taken(table):
    first = table.open_session(SOURCE, "2026")
    table.add_samples(first, [(0, "b", 1.0, 1.5), (1, "a", 2.0, 2.5)])
    foreign = table.open_session(OTHER, "2026")
    table.add_samples(foreign, [(0, "a", 9.0, 9.0)])
    table.add_samples(first, [(2, "b", 3.0, 3.5)])
    second = table.open_session(SOURCE, "2027")
    table.add_samples(second, [])
    third = table.open_session(SOURCE, "2028")
    table.add_samples(third, [(0, "c", 4.0, 4.5)])

    with reopened(table) as again:
        series = again.samples(SOURCE)

    assert [s.session for s in series] == [first, third]
    assert [s.keys for s in series] == [["b", "a", "b"], ["c"]]
    assert series[0].latency_s.tolist() == [1.0, 2.0, 3.0]
    assert series[0].wall_s.tolist() == [1.5, 2.5, 3.5]


def test_a_position_taken_twice_is_refused_and_nothing_of_it_is_kept(table):
    session = table.open_session(SOURCE, "2026")
    table.add_samples(session, [(0, "a", 1.0, 1.0)])

    with pytest.raises(TableError):
        table.add_samples(session, [(1, "a", 2.0, 2.0), (0, "a", 3.0, 3.0)])

    assert table.samples(SOURCE)[0].latency_s.tolist() == [1.0]


def test_merging_takes_what_is_new_or_newer(table, tmp_path):
    table.put([cost("old", taken="2026-01-01"), cost("kept", value=5.0, taken="2026-03-01")])
    with CostTable(tmp_path / "other.sqlite") as other:
        other.put_target(SOURCE.fingerprint, "cpu", "a machine")
        other.put_networks("s", {(1,): "old"})
        other.put(
            [
                cost("old", value=7.0, taken="2026-02-01"),
                cost("kept", value=7.0, taken="2026-02-01"),
                cost("new", value=7.0, taken="2026-02-01"),
            ],
            [KERNEL],
        )

        assert table.merge(other) == 2
        assert table.merge(other) == 0
        assert table.merge(table) == 0

    assert {r.key: r.value for r in table.rows()} == {"old": 7.0, "kept": 5.0, "new": 7.0}
    assert list(table.kernels()) == [KERNEL]
    assert table.networks("s") == {(1,): "old"}


@pytest.mark.parametrize("rows", [[], [cost("k0"), cost("k1", value=1 / 3)]])
def test_exports_are_read_back_as_they_were(table, tmp_path, rows):
    table.put(rows)
    files = [tmp_path / "t.csv", tmp_path / "t.parquet"]

    assert [table.export(file) for file in files] == [len(rows)] * 2

    with files[0].open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [float(r["value"]) for r in read] == [r.value for r in rows]
    assert pq.read_table(files[1]).to_pylist() == [dataclasses.asdict(r) for r in rows]
    assert tuple(pq.read_table(files[1]).column_names) == COST_FIELDS


def test_an_export_that_cannot_be_written_is_an_error(table, tmp_path):
    with pytest.raises(TableError, match=r"use \.csv or \.parquet"):
        table.export(tmp_path / "t.xlsx")
    for name in ("t.csv", "t.parquet"):
        with pytest.raises(TableError, match="cannot write"):
            table.export(tmp_path / "no such folder" / name)


# Files that are not what they should be -------------------------------------------------------


def test_a_missing_table_is_answered_with_what_to_run(tmp_path):
    with pytest.raises(TableError, match="run `hwnas profile`, or give another with --table"):
        CostTable(tmp_path / "none.sqlite", create=False)

    assert not (tmp_path / "none.sqlite").exists()


def test_random_bytes_are_refused(tmp_path):
    path = tmp_path / "t.sqlite"
    path.write_bytes(np.random.default_rng(0).bytes(5000))

    with pytest.raises(TableError, match="the file may be damaged"):
        CostTable(path)

    assert len(path.read_bytes()) == 5000


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused_when_it_is_read_at_the_latest(tmp_path, share):
    path = tmp_path / "t.sqlite"
    with CostTable(path) as table:
        table.put([cost(f"k{i:05}") for i in range(2000)])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(TableError, match="damaged") as caught:
        read_all(path)

    assert "free some space" not in str(caught.value)


def test_a_file_with_a_damaged_page_is_refused_when_it_is_read(tmp_path):
    path = tmp_path / "t.sqlite"
    with CostTable(path) as table:
        table.put([cost(f"k{i:05}") for i in range(2000)])
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : 2 * len(content) // 3] = b"\xa5" * (
        2 * len(content) // 3 - len(content) // 3
    )
    path.write_bytes(content)

    with pytest.raises(TableError, match="damaged"):
        read_all(path)


def test_another_database_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "t.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")

    with pytest.raises(TableError, match="is an SQLite file but not a cost table"):
        CostTable(path)

    names = sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall()
    assert names == [("songs",)]


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE meta SET value = '999' WHERE name = 'schema'", "999"),
        ("DELETE FROM meta", "none"),
    ],
)
def test_a_table_of_another_version_is_refused_with_what_to_do(table, statement, found):
    with sqlite3.connect(table.path) as connection:
        connection.execute(statement)

    with pytest.raises(TableError, match=f"has schema {found}, .* new table with --table"):
        CostTable(table.path)


def test_a_folder_or_an_impossible_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")

    for path in (tmp_path, tmp_path / "file" / "t.sqlite"):
        with pytest.raises(TableError):
            CostTable(path)


def test_a_table_that_was_not_finished_is_finished(tmp_path):
    path = tmp_path / "t.sqlite"
    path.touch()

    with CostTable(path, create=False) as table:
        table.put([cost()])
        assert len(list(table.rows())) == 1


# Trouble while writing -------------------------------------------------------------------------


def test_a_full_disk_is_named_and_earlier_rows_stay(table):
    table.put([cost("early")])
    (pages,) = table._connection.execute("PRAGMA page_count").fetchone()
    table._connection.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(TableError, match="full; free some space and run the command again"):
        table.put([cost(f"k{i:05}") for i in range(5000)])

    table._connection.execute("PRAGMA max_page_count = 100000")
    assert [row.key for row in table.rows()] == ["early"]
    table.put([cost("late")])
    with reopened(table) as again:
        assert [row.key for row in again.rows()] == ["early", "late"]


def test_a_table_that_another_process_keeps_locked_is_named(table):
    table._connection.execute("PRAGMA busy_timeout = 0")
    blocker = sqlite3.connect(table.path, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(TableError, match="another hwnas is writing to it"):
            table.put([cost()])
    finally:
        blocker.close()

    table.put([cost()])


WRITER = """
import sys
from pathlib import Path
from hwnas.costs import Cost, CostTable, Source
path, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
with CostTable(path) as table:
    session = table.open_session(Source("f", "r"), "now")
    for i in range(40):
        row = Cost(f"{name}{i}", "f", "r", "latency_s", 1.0, 1.0, 1.0, 0.0, 1, 0, "measured", "t")
        table.put([row])
        table.add_samples(session, [(i, name, float(i), float(i))])
"""


def test_two_processes_make_and_fill_one_table(tmp_path):
    path = tmp_path / "t.sqlite"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()

    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0

    with CostTable(path, create=False) as table:
        assert len(list(table.rows())) == 80
        series = table.samples(Source("f", "r"))
        assert sorted(s.keys[0] for s in series) == ["a", "b"]
        assert all(s.latency_s.tolist() == list(range(40)) for s in series)


def test_the_table_lives_in_the_users_data_folder():
    assert default_table_path().name == "costs.sqlite"
    assert "hwnas" in default_table_path().parts
