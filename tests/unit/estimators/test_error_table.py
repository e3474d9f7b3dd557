"""Tables of errors: what is written is read back, and nothing malformed is believed."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwnas.errors import RunError, SpaceError, TableError
from hwnas.estimators import error_table
from hwnas.estimators.error_table import ErrorLog, read_error_table, write_error_table
from hwnas.spaces import get_space

NOTES = {"space": "tiny", "data": "digits", "how": "made up: for tests"}
HEADER = "depth,block.1.kernel,block.1.expand,block.2.kernel,block.2.expand,error\n"


@pytest.fixture
def rows(space):
    return np.unique(space.sample(40, np.random.default_rng(0)), axis=0)


@pytest.fixture
def errors(rows):
    return np.random.default_rng(1).random(len(rows))


def test_a_written_table_is_read_back(space, rows, errors, tmp_path):
    path = tmp_path / "t.csv"

    write_error_table(path, space, rows, errors, NOTES)
    found = read_error_table(path, space)

    np.testing.assert_array_equal(found.population, rows)
    np.testing.assert_array_equal(found.error, errors)
    assert found.notes == NOTES


def test_options_of_any_kind_are_read_back(tmp_path):
    space, path = get_space("proxyless-mobile@64"), tmp_path / "t.csv"
    rows = np.unique(space.sample(5, np.random.default_rng(0)), axis=0)

    write_error_table(path, space, rows, np.linspace(0, 1, len(rows)), {})

    np.testing.assert_array_equal(read_error_table(path, space).population, rows)


def test_columns_may_stand_in_any_order_beside_others(space, tmp_path):
    path = tmp_path / "t.csv"
    names = HEADER.strip().split(",")[::-1]
    path.write_text(f"seconds,{','.join(names)}\n7,0.5,4,3,2,5,1\n")

    found = read_error_table(path, space)

    assert found.population.tolist() == [[0, 1, 0, 0, 0]]  # the second block is not there
    assert found.error.tolist() == [0.5]


def test_a_parquet_file_has_the_same_columns(space, rows, errors, tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        decision.name: [decision.options[index] for index in rows[:, place]]
        for place, decision in enumerate(space.decisions)
    }
    table = pa.table(columns | {"error": errors, "list": [[1]] * len(rows)})
    pq.write_table(table.replace_schema_metadata(NOTES), path)

    found = read_error_table(path, space)

    np.testing.assert_array_equal(found.population, rows)
    np.testing.assert_array_equal(found.error, errors)
    assert found.notes["how"] == NOTES["how"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no column 'depth'; a table of tiny has depth, block.1.kernel"),
        ("depth,error\n1,0.5\n", "has no column 'block.1.kernel'"),
        (HEADER + "1,3,2,3\n", "row 1: 4 cells, the header has 6"),
        (HEADER + "1,4,2,3,2,0.5\n", "row 1: block.1.kernel is '4'; it is one of 3, 5, 7"),
        (HEADER + "1,3,2,3,2,1.5\n", "row 1: error is '1.5'; it is a number from 0 to 1"),
        (HEADER + "1,3,2,3,2,nan\n", "row 1: error is 'nan'"),
        (HEADER + "1,3,2,3,2,1_0\n", "row 1: error is '1_0'"),
        (HEADER + "1,3,2,3,2,=1\n", "row 1: error is '=1'"),
        (HEADER + "1,3,2,3,2,0.5\n1,3,2,7,4,0.6\n", "row 2: this architecture has error 0.6 here"),
        (HEADER.replace("error", "error,error"), "two columns 'error'"),
        ("# space: other@32\n" + HEADER, "is a table of other@32, not of tiny"),
        (HEADER + '1,3,2,3,2,"0.5\n', "is no CSV file"),
        (b"\xff\xfe", "is not text in UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(space, tmp_path, content, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(TableError, match=re.escape(message)):
        read_error_table(path, space)


def test_one_error_given_twice_is_one_row(space, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "1,3,2,3,2,0.5\n1,3,2,7,4,0.5\n")

    assert len(read_error_table(path, space).error) == 1


def test_files_that_are_missing_too_large_or_of_another_kind_are_refused(
    space, tmp_path, monkeypatch
):
    with pytest.raises(TableError, match="cannot read"):
        read_error_table(tmp_path / "none.csv", space)
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(TableError, match=r"give a \.csv or \.parquet file"):
        read_error_table(tmp_path / "t.json", space)
    (tmp_path / "t.parquet").write_text("PAR1 but not really")
    with pytest.raises(TableError, match="is no Parquet file"):
        read_error_table(tmp_path / "t.parquet", space)
    monkeypatch.setattr(error_table, "_LARGEST_BYTES", 10)
    (tmp_path / "t.csv").write_text(HEADER)
    with pytest.raises(TableError, match="over 10 bytes"):
        read_error_table(tmp_path / "t.csv", space)


def test_a_note_of_two_lines_is_refused(space, tmp_path):
    with pytest.raises(SpaceError, match="more than one line"):
        write_error_table(
            tmp_path / "t.csv", space, np.empty((0, 5), np.uint8), np.empty(0), {"a": "b\nc"}
        )


def test_a_log_keeps_what_was_added_and_forgets_a_row_that_was_cut(space, rows, tmp_path):
    path = tmp_path / "log.csv"
    with ErrorLog(path, space, NOTES, ("seconds",)) as log:
        assert len(log.known.error) == 0
        log.add(rows[0], 0.25, 1.5)
        log.add(rows[1], 0.75, 1.5)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])  # killed while the last row was written

    with ErrorLog(path, space, NOTES, ("seconds",)) as log:
        known = log.known
        log.add(rows[1], 0.75, 1.5)

    np.testing.assert_array_equal(known.population, rows[:1])
    assert known.error.tolist() == [0.25]
    assert path.read_bytes() == whole


def test_a_log_of_something_else_is_refused(space, tmp_path):
    path = tmp_path / "log.csv"
    with ErrorLog(path, space, NOTES):
        pass

    with pytest.raises(RunError, match="is of data 'digits', asked for 'nuclei'"):
        ErrorLog(path, space, NOTES | {"data": "nuclei"})
