import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwnas.errors import RunError
from hwnas.search import run_tables
from hwnas.search.front import Front
from hwnas.search.run_tables import (
    HistoryTable,
    read_front,
    read_history,
    write_front,
    write_history,
)
from hwnas.search.search_loop import History


@pytest.fixture
def history_path(tmp_path):
    return tmp_path / "history.parquet"


@pytest.fixture
def front_path(tmp_path):
    return tmp_path / "front.csv"


def test_a_history_reads_back_exactly_with_nan_and_infinity(history_path, make_history):
    written = make_history()
    write_history(history_path, written)

    read = read_history(history_path)

    assert read.metrics == written.metrics
    for name in ("generation", "population", "error", "costs", "violation"):
        wanted, found = getattr(written, name), getattr(read, name)
        np.testing.assert_array_equal(wanted, found)
        assert wanted.dtype == found.dtype


@pytest.mark.parametrize("objectives", [("error", "latency_s"), ("latency_s",)])
def test_a_search_history_becomes_a_table(objectives):
    searched = History(2, ("latency_s",), objectives)
    values = {"error": [0.1, np.nan], "latency_s": [1.0, 2.0]}
    searched.append(
        population=np.array([[0, 1], [1, 0]], np.uint8),
        objectives=np.array([values[name] for name in objectives]).T,
        costs=np.array([[1.0], [2.0]]),
        violation=np.array([0.0, 1.0]),
        generation=np.zeros(2, np.int32),
    )

    table = HistoryTable.of(searched)

    expected = values["error"] if "error" in objectives else [np.nan, np.nan]
    np.testing.assert_array_equal(table.error, expected)
    assert table.costs.tolist() == [[1.0], [2.0]]
    assert table.metrics == ("latency_s",)


def test_an_empty_history_reads_back(history_path, make_history):
    write_history(history_path, make_history(0))

    assert len(read_history(history_path)) == 0


def test_a_history_that_unpacks_to_too_much_is_not_read(history_path, make_history, monkeypatch):
    write_history(history_path, make_history(100))
    monkeypatch.setattr(run_tables, "_LARGEST_UNPACKED_BYTES", 1000)

    with pytest.raises(RunError, match="claims 100 rows"):
        read_history(history_path)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"generation": pa.array([1], pa.int32())},
        {"generation": pa.array([1.0]), "error": [1.0], "violation": [1.0]},
        {"generation": pa.array([1], pa.int32()), "error": ["x"], "violation": [1.0]},
        {"generation": pa.array([None], pa.int32()), "error": [1.0], "violation": [1.0]},
    ],
)
def test_a_parquet_file_of_other_columns_is_refused(history_path, columns):
    pq.write_table(pa.table(columns), history_path)

    with pytest.raises(RunError, match="malformed"):
        read_history(history_path)


def test_a_front_reads_back_with_its_picks(front_path, front):
    write_front(
        front_path, front, {"latency_s": [1e-3, 2e-3, 4e-3], "energy_j": [1.0, np.nan, 3.0]}
    )

    fastest, knee, best = read_front(front_path)

    assert fastest.picks == ("fastest",)
    assert knee.picks == ("knee",)
    assert best.picks == ("best",)
    assert knee.architecture == (1, 1)
    assert knee.error == 0.11
    assert knee.costs["latency_s"] == 2e-3
    assert np.isnan(knee.costs["energy_j"])


def test_an_empty_front_reads_back(front_path):
    empty = Front.of(np.empty((0, 2), np.uint8), np.empty((0, 1)), None, ("latency_s",))
    write_front(front_path, empty, {"latency_s": []})

    assert read_front(front_path) == []


@pytest.mark.parametrize(
    "line",
    [
        "0,knee,[0],0.1",
        "0,knee,[0],0.1,0.2,0.3",
        "x,knee,[0],0.1,0.2",
        "0,knee,__import__('os'),0.1,0.2",
        "0,knee,[300],0.1,0.2",
        "0,knee,[0],nan,0.2",
        "0,knee,[0],0.1,inf",
        '0,"knee,[0],0.1,0.2',
    ],
)
def test_a_malformed_line_of_the_front_is_refused(front_path, line):
    front_path.write_text(f"index,picks,architecture,error,latency_s\n{line}\n")

    with pytest.raises(RunError, match="malformed"):
        read_front(front_path)


def test_architectures_of_different_lengths_are_refused(front_path):
    front_path.write_text('index,picks,architecture,error\n0,,[0],\n1,,"[0,1]",\n')

    with pytest.raises(RunError, match="different lengths"):
        read_front(front_path)


@pytest.mark.parametrize(
    "header",
    [
        "index,picks,architecture",
        "index,picks,error,architecture",
        "index,picks,architecture,error,latency_s,latency_s",
    ],
)
def test_other_columns_of_the_front_are_refused(front_path, header):
    front_path.write_text(f"{header}\n")

    with pytest.raises(RunError, match="its columns are"):
        read_front(front_path)


@pytest.mark.parametrize(
    ("name", "limit", "read"),
    [
        ("history.parquet", "_LARGEST_HISTORY_BYTES", read_history),
        ("front.csv", "_LARGEST_FRONT_BYTES", read_front),
    ],
)
def test_a_table_over_its_size_is_not_read(tmp_path, name, limit, read, monkeypatch):
    (tmp_path / name).write_bytes(bytes(11))
    monkeypatch.setattr(run_tables, limit, 10)

    with pytest.raises(RunError, match="more than 10 bytes"):
        read(tmp_path / name)
