"""Hostile and plain CSV files."""

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hwnas.costs import published_file
from hwnas.costs.published_file import read_published_file
from hwnas.errors import TableError

# Without the time of packing: names of tests must be the same in every process that runs them.
HALF_PACKED = gzip.compress(b"block,latency_ms\na,1\n", mtime=0)[:-12]


@pytest.fixture
def file(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_milliseconds_and_seconds_are_the_same_latency(file):
    ms = read_published_file(file("block,latency_ms\na,2.5\n"))
    s = read_published_file(file("block,latency_s\na,0.0025\n", "other.csv"))

    assert ms.rows[0].latency_s == s.rows[0].latency_s == 0.0025
    assert ms.rows[0].line == 2
    assert ms.columns == ("block", "latency_ms")


def test_a_compressed_file_is_the_same_table(file):
    text = b"\xef\xbb\xbfblock,latency_ms\r\na,2.5\r\n\r\nb,1e1\r\n"

    plain = read_published_file(file(text))
    packed = read_published_file(file(gzip.compress(text), "table.csv.gz"))

    assert plain.rows == packed.rows
    assert [row.line for row in plain.rows] == [2, 4]


@pytest.mark.parametrize("value", ["-0.233094", "0", "nan", "inf", "1e300", "fast", "", "1_0"])
def test_a_latency_that_is_none_is_refused_with_its_row(file, value):
    path = file(f"block,latency_ms\na,1\nb,{value}\nc,2\n")

    with pytest.raises(TableError, match="row 3: latency_ms is") as caught:
        read_published_file(path)
    kept = read_published_file(path, skip_bad=True)

    assert value in str(caught.value)
    assert [row.cells["block"] for row in kept.rows] == ["a", "c"]
    assert len(kept.bad) == 1
    assert kept.bad[0].startswith("row 3: latency_ms is")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("block,latency_ms\n", "no usable row"),
        ("block,latency_ms\na,1,2\n", "row 2: 3 cells, the header has 2"),
        ("block,latency_ms\na\n", "row 2: 1 cells"),
        ("a,a\n1,2\n", "two columns 'a'"),
        ("latency_ms,latency_s\n1,2\n", "both in s and in ms"),
        ('block,latency_ms\n"a,1\n', "no CSV file"),
        ("block,latency_ms\n=1+1,1\n", "row 2: block holds a formula"),
        ("block,latency_ms\n@SUM(A1),1\n", "holds a formula"),
        ("block,latency_ms\n-cmd|x,1\n", "holds a formula"),
        ("block,latency_ms\n" + "x" * 5000 + ",1\n", "over 4096 characters"),
        (",".join(f"c{i}" for i in range(600)) + "\n", "600 columns"),
        (b"block,latency_ms\n\xff,1\n", "not text in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(file, content, message):
    with pytest.raises(TableError, match=message):
        read_published_file(file(content))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"no gzip", "table.csv.gz", "not a gzip file"),
        (
            gzip.compress(b"block,latency_ms\na,1\n", mtime=0)[:-12],
            "table.csv.gz",
            "not a gzip file",
        ),
        (b"x", "table.xlsx", "give a .csv or .csv.gz"),
    ],
)
def test_other_files_are_refused(file, content, name, message):
    with pytest.raises(TableError, match=message):
        read_published_file(file(content, name))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TableError, match=r"none\.csv"):
        read_published_file(tmp_path / "none.csv")


def test_a_file_that_inflates_without_end_is_stopped(file, monkeypatch):
    monkeypatch.setattr(published_file, "_MAX_BYTES", 1 << 20)
    bomb = file(gzip.compress(b"0" * (8 << 20)), "bomb.csv.gz")

    assert bomb.stat().st_size < 1 << 14
    with pytest.raises(TableError, match="over 1048576 bytes"):
        read_published_file(bomb)


def test_too_many_rows_are_refused(file, monkeypatch):
    monkeypatch.setattr(published_file, "_MAX_ROWS", 3)

    with pytest.raises(TableError, match="over 3 rows"):
        read_published_file(file("block,latency_ms\n" + "a,1\n" * 4))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=300), packed=st.booleans())
def test_any_bytes_are_a_table_or_an_error(file, content, packed):
    path = file(gzip.compress(content) if packed else content, "t.csv.gz" if packed else "t.csv")

    try:
        found = read_published_file(path)
    except TableError:
        return
    assert found.rows
