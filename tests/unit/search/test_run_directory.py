import errno
import io
import json
import os
import zipfile

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwnas.errors import RunError
from hwnas.search import run_directory
from hwnas.search.front import Front
from hwnas.search.run_directory import (
    Candidate,
    ChosenRecord,
    CostFigure,
    ErrorRecord,
    HistoryTable,
    RunDirectory,
    TargetRecord,
)
from hwnas.search.search_loop import History

TARGET = TargetRecord("cpu", "0123456789abcdef", "a processor", 1)
ARGUMENTS = {"space": "mbconv-digits", "latency_s": 0.002, "evaluations": 10}


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", ARGUMENTS, target=TARGET, seed=3)


def history(n=5, d=3):
    rng = np.random.default_rng(0)
    return HistoryTable(
        np.arange(n, dtype=np.int32),
        rng.integers(0, 3, (n, d), dtype=np.uint8),
        np.where(np.arange(n) % 2, np.nan, rng.random(n)),
        rng.random((n, 2)),
        ("latency_s", "memory_bytes"),
        np.where(np.arange(n) % 2, np.inf, 0.0),
    )


def front():
    population = np.array([[0, 1], [1, 1], [2, 0]], np.uint8)
    objectives = [[0.3, 1e-3], [0.11, 2e-3], [0.1, 4e-3]]
    return Front.of(population, objectives, None, ("error", "latency_s"))


def chosen():
    predicted = {"latency_s": CostFigure(1e-3, "modelled")}
    measured = {"latency_s": CostFigure(1.1e-3, "measured", 1.0e-3, 1.2e-3, 1e-5, 40)}
    return ChosenRecord(
        "knee",
        [0, 1],
        {"depth": 1, "operator": [3, 6], "skip": None},
        predicted,
        measured,
        {"latency_s": 2e-3},
        True,
        ErrorRecord(0.1, 0.11, 300, 360),
        [Candidate([0, 1], predicted, measured, True)],
    )


def fill(run):
    run.write_history(history())
    run.write_front(front(), {"latency_s": [1e-3, 2e-3, 4e-3]})
    run.write_chosen(chosen())
    run.write_state({"search.arguments": "x", "history.costs": np.ones((2, 2))})


READERS = {
    "run.json": lambda run: RunDirectory.open(run.path),
    "chosen.json": lambda run: run.read_chosen(),
    "front.csv": lambda run: run.read_front(),
    "history.parquet": lambda run: run.read_history(),
    "search.npz": lambda run: run.read_state(),
}
WRITERS = {
    "run.json": lambda run: run.finish(),
    "chosen.json": lambda run: run.write_chosen(chosen()),
    "front.csv": lambda run: run.write_front(front(), {"latency_s": [1.0, 2.0, 3.0]}),
    "history.parquet": lambda run: run.write_history(history(9)),
    "search.npz": lambda run: run.write_state({"other": 2}),
}


def test_a_run_reads_back_as_it_was_created(run):
    opened = RunDirectory.open(run.path)

    assert opened.record == run.record
    assert opened.record.arguments == ARGUMENTS
    assert opened.record.state == "running"
    assert opened.record.created.endswith("+00:00")
    assert set(opened.record.versions) == {"python", "numpy", "torch", "onnxruntime", "hwnas"}


def test_the_record_keeps_timings_provenance_and_the_end(run):
    run.add_timing("search", 1.5)
    run.add_timing("search", 0.5)
    run.set_provenance({"latency_s": "measured"})
    run.finish()

    record = RunDirectory.open(run.path).record

    assert record.timings_s == {"search": 2.0}
    assert record.provenance == {"latency_s": "measured"}
    assert record.state == "finished"


def test_a_history_reads_back_exactly_with_nan_and_infinity(run):
    written = history()
    run.write_history(written)

    read = run.read_history()

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


def test_an_empty_history_reads_back(run):
    run.write_history(history(0))

    assert len(run.read_history()) == 0


def test_a_front_reads_back_with_its_picks(run):
    run.write_front(front(), {"latency_s": [1e-3, 2e-3, 4e-3], "energy_j": [1.0, np.nan, 3.0]})

    fastest, knee, best = run.read_front()

    assert fastest.picks == ("fastest",)
    assert knee.picks == ("knee",)
    assert best.picks == ("best",)
    assert knee.architecture == (1, 1)
    assert knee.error == 0.11
    assert knee.costs["latency_s"] == 2e-3
    assert np.isnan(knee.costs["energy_j"])


def test_an_empty_front_reads_back(run):
    empty = Front.of(np.empty((0, 2), np.uint8), np.empty((0, 1)), None, ("latency_s",))
    run.write_front(empty, {"latency_s": []})

    assert run.read_front() == []


def test_the_chosen_network_reads_back(run):
    run.write_chosen(chosen())

    assert run.read_chosen() == chosen()


def test_a_number_that_is_not_finite_is_null_in_json_and_none_in_python(run):
    record = msgspec.structs.replace(chosen(), error=ErrorRecord(float("nan"), float("inf")))
    run.write_chosen(record)

    assert json.loads((run.path / "chosen.json").read_text())["error"]["validation"] is None
    assert run.read_chosen().error == ErrorRecord()


def test_the_state_of_a_search_reads_back(run):
    run.write_state({"array": np.arange(3), "text": "{}", "number": 2.5})

    state = run.read_state()

    assert state["array"].tolist() == [0, 1, 2]
    assert (state["text"], state["number"]) == ("{}", 2.5)


def test_creating_over_a_run_asks_for_resume(run):
    with pytest.raises(RunError, match="--resume"):
        RunDirectory.create(run.path, ARGUMENTS, target=TARGET, seed=3)


def test_creating_in_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")

    with pytest.raises(RunError, match=r"not empty \(thesis.tex\)"):
        RunDirectory.create(tmp_path, ARGUMENTS, target=TARGET, seed=3)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_resuming_starts_a_run_where_there_is_none_and_opens_it_the_next_time(tmp_path):
    for _ in range(2):
        run = RunDirectory.create(tmp_path, ARGUMENTS, target=TARGET, seed=3, resume=True)
        run.add_timing("search", 1.0)

    assert run.record.timings_s == {"search": 2.0}


@pytest.mark.parametrize(
    ("changes", "seed", "fingerprint", "message"),
    [
        ({"latency_s": 0.003}, 3, TARGET.fingerprint, "latency_s 0.002, now it is 0.003"),
        ({"strategy": "random"}, 3, TARGET.fingerprint, "strategy not given, now it is 'random'"),
        ({}, 4, TARGET.fingerprint, "seed 3, now it is 4"),
        ({}, 3, "f" * 16, "target fingerprint"),
    ],
)
def test_resuming_with_another_argument_names_it(run, changes, seed, fingerprint, message):
    target = msgspec.structs.replace(TARGET, fingerprint=fingerprint)

    with pytest.raises(RunError, match=message):
        RunDirectory.create(run.path, ARGUMENTS | changes, target=target, seed=seed, resume=True)


def test_resuming_without_an_argument_names_it(run):
    fewer = {name: ARGUMENTS[name] for name in ("space", "evaluations")}

    with pytest.raises(RunError, match=r"latency_s 0.002, now it is not given"):
        RunDirectory.create(run.path, fewer, target=TARGET, seed=3, resume=True)


def test_opening_what_is_no_run_says_so(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        RunDirectory.open(tmp_path / "missing")
    with pytest.raises(RunError, match=r"no run\.json"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize("name", ["chosen.json", "front.csv", "history.parquet", "search.npz"])
def test_a_file_that_was_not_written_yet_is_a_run_error(run, name):
    with pytest.raises(RunError, match=name):
        READERS[name](run)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "flipped"])
def test_a_damaged_file_is_one_line_and_never_another_error(run, name, damage):
    fill(run)
    content = (run.path / name).read_bytes()
    rng = np.random.default_rng(0)
    variants = {
        "empty": [b""],
        "cut": [content[: len(content) * k // 8] for k in range(1, 8)],
        "noise": [rng.bytes(500)],
        "flipped": [],
    }[damage]
    if damage == "flipped":
        for position in rng.integers(0, len(content), 60):
            broken = bytearray(content)
            broken[position] ^= 0xFF
            variants.append(bytes(broken))

    messages = []
    for variant in variants:
        (run.path / name).write_bytes(variant)
        try:
            READERS[name](run)
        except RunError as error:
            messages.append(str(error))
    assert "\n" not in "".join(messages)


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


@pytest.mark.parametrize("name", ["run.json", "chosen.json"])
@pytest.mark.parametrize("content", HOSTILE_JSON, ids=range(len(HOSTILE_JSON)))
def test_hostile_json_is_refused(run, name, content):
    content = content.encode() if isinstance(content, str) else content
    (run.path / name).write_bytes(content)

    with pytest.raises(RunError):
        READERS[name](run)


@pytest.mark.parametrize("name", ["run.json", "chosen.json"])
def test_a_newer_schema_asks_for_a_newer_hwnas(run, name):
    fill(run)
    values = json.loads((run.path / name).read_text()) | {"schema": 2, "novelty": 1}
    (run.path / name).write_text(json.dumps(values))

    with pytest.raises(RunError, match=r"schema 2.*newer hwnas"):
        READERS[name](run)


@pytest.mark.parametrize("option", [-1, 255, 1.5, "1"])
def test_an_option_out_of_range_is_refused(run, option):
    run.write_chosen(msgspec.structs.replace(chosen(), architecture=[option]))
    with pytest.raises(RunError, match="malformed"):
        run.read_chosen()


def test_a_file_over_its_size_is_not_read(run, monkeypatch):
    fill(run)
    for name in ("run.json", "chosen.json", "front.csv", "history.parquet"):
        monkeypatch.setitem(run_directory._LARGEST_BYTES, name, 10)
        with pytest.raises(RunError, match="more than 10 bytes"):
            READERS[name](run)


def test_a_history_that_unpacks_to_too_much_is_not_read(run, monkeypatch):
    run.write_history(history(100))
    monkeypatch.setattr(run_directory, "_LARGEST_HISTORY_BYTES", 1000)

    with pytest.raises(RunError, match="claims 100 rows"):
        run.read_history()


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
def test_a_parquet_file_of_other_columns_is_refused(run, columns):
    pq.write_table(pa.table(columns), run.path / "history.parquet")

    with pytest.raises(RunError, match="malformed"):
        run.read_history()


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
def test_a_malformed_line_of_the_front_is_refused(run, line):
    (run.path / "front.csv").write_text(f"index,picks,architecture,error,latency_s\n{line}\n")

    with pytest.raises(RunError, match="malformed"):
        run.read_front()


def test_a_pickled_state_is_refused(run):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(run.path / "search.npz", "w") as archive:
        archive.writestr("a.npy", buffer.getvalue())

    with pytest.raises(RunError):
        run.read_state()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_says_what_was_written_and_leaves_the_old_file(run, name, code, monkeypatch):
    fill(run)
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}

    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError, match=f"disk is full: {name} .*written before is intact"):
        WRITERS[name](run)

    assert {file.name: file.read_bytes() for file in run.path.iterdir()} == before
    assert run.record.state == "running"


def test_a_failure_in_the_middle_of_a_file_leaves_the_old_one(run):
    run.write_file("supernet.pt", lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"new, cut")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.write_file("supernet.pt", fail)

    assert run.supernet_path.read_bytes() == b"old"
    assert not list(run.path.glob("*.part"))


def test_what_a_killed_run_left_half_written_does_not_matter(run):
    (run.path / "chosen.json.part").write_text("{")

    run.write_chosen(chosen())

    assert run.read_chosen() == chosen()
    assert not list(run.path.glob("*.part"))


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RunError, match="cannot write the run directory"):
        RunDirectory.create(tmp_path / "file" / "run", ARGUMENTS, target=TARGET, seed=0)
