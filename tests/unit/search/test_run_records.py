import json

import msgspec
import pytest

from hwnas.errors import RunError
from hwnas.search import run_records
from hwnas.search.run_records import (
    ChosenRecord,
    ErrorRecord,
    RunRecord,
    TargetRecord,
    read_record,
    write_record,
)

RUN = RunRecord(
    1,
    "0.1.0",
    "2026-01-01T00:00:00+00:00",
    {"space": "mbconv-digits"},
    {"python": "3.11"},
    TargetRecord("cpu", "0123456789abcdef", "a processor", 1),
    3,
)
KINDS = [RunRecord, ChosenRecord]


@pytest.fixture
def records(chosen):
    return {RunRecord: RUN, ChosenRecord: chosen}


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_reads_back(tmp_path, records, kind):
    write_record(tmp_path / "record.json", records[kind])

    assert read_record(tmp_path / "record.json", kind) == records[kind]


def test_a_number_that_is_not_finite_is_null_in_json_and_none_in_python(tmp_path, chosen):
    path = tmp_path / "chosen.json"
    error = ErrorRecord(float("nan"), float("inf"))

    write_record(path, msgspec.structs.replace(chosen, error=error))

    assert json.loads(path.read_text())["error"]["validation"] is None
    assert read_record(path, ChosenRecord).error == ErrorRecord()


HOSTILE_JSON = [
    "[]",
    "{}",
    '{"schema": 1}',
    '{"schema": "1"}',
    '{"schema": 1, "unknown": 2}',
    '{"schema": 1e999}',
    "[" * 100_000,
    '{"schema": 1, "x": ' + "[" * 100_000,
    '{"schema": ' + "9" * 5000 + "}",
    "\ud800".encode("utf-8", "surrogatepass"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_hostile_json_is_refused(tmp_path, kind, content):
    path = tmp_path / "record.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)

    with pytest.raises(RunError):
        read_record(path, kind)


@pytest.mark.parametrize(
    ("schema", "advice"), [(2, "schema 2.*newer hwnas"), (0, "schema 0.*start afresh")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_another_schema_says_what_to_do(tmp_path, records, kind, schema, advice):
    path = tmp_path / "record.json"
    write_record(path, records[kind])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": schema, "novelty": 1}))

    with pytest.raises(RunError, match=advice):
        read_record(path, kind)


@pytest.mark.parametrize("option", [-1, 255, 1.5, "1"])
def test_an_option_out_of_range_is_refused(tmp_path, chosen, option):
    path = tmp_path / "chosen.json"
    write_record(path, msgspec.structs.replace(chosen, architecture=[option]))

    with pytest.raises(RunError, match="malformed"):
        read_record(path, ChosenRecord)


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_over_its_size_is_not_read(tmp_path, records, kind, monkeypatch):
    write_record(tmp_path / "record.json", records[kind])
    monkeypatch.setitem(run_records._LARGEST_BYTES, kind, 10)

    with pytest.raises(RunError, match="more than 10 bytes"):
        read_record(tmp_path / "record.json", kind)
