import errno
import os
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from hwnas.errors import RunError
from hwnas.search.front import Front
from hwnas.search.installed_versions import installed_versions
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import TargetRecord

TARGET = TargetRecord("cpu", "0123456789abcdef", "a processor", 1)
ARGUMENTS = {"space": "mbconv-digits", "latency_s": 0.002, "evaluations": 10}
EMPTY_FRONT = Front.of(np.empty((0, 2), np.uint8), np.empty((0, 1)), None, ("latency_s",))

READERS = {
    "run.json": lambda run: RunDirectory.open(run.path),
    "chosen.json": lambda run: run.read_chosen(),
    "front.csv": lambda run: run.read_front(),
    "history.parquet": lambda run: run.read_history(),
    "search.npz": lambda run: run.read_state(),
}
WRITERS = {
    "run.json": lambda run: run.finish(),
    "chosen.json": lambda run: run.write_chosen(
        msgspec.structs.replace(run.read_chosen(), pick="best")
    ),
    "front.csv": lambda run: run.write_front(EMPTY_FRONT, {"latency_s": []}),
    "history.parquet": lambda run: run.write_history(
        replace(run.read_history(), metrics=("energy_j", "memory_bytes"))
    ),
    "search.npz": lambda run: run.write_state({"other": 2}),
    "training.csv": lambda run: run.write_file("training.csv", lambda file: file.write(b"new")),
}


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", ARGUMENTS, target=TARGET, seed=3)


@pytest.fixture
def filled(run, make_history, front, chosen):
    run.write_history(make_history())
    run.write_front(front, {"latency_s": [1e-3, 2e-3, 4e-3]})
    run.write_chosen(chosen)
    run.write_state({"search.arguments": "x", "history.costs": np.ones((2, 2))})
    run.write_file("training.csv", lambda file: file.write(b"old"))
    return run


def test_a_run_reads_back_as_it_was_created(run):
    opened = RunDirectory.open(run.path)

    assert opened.record == run.record
    assert opened.record.arguments == ARGUMENTS
    assert opened.record.state == "running"
    assert opened.record.created.endswith("+00:00")
    assert opened.record.versions == installed_versions()
    assert {"python", "numpy", "torch", "onnxruntime", "hwnas"} <= set(opened.record.versions)


def test_the_record_keeps_timings_provenance_and_the_end(run):
    run.add_timing("search", 1.5)
    run.add_timing("search", 0.5)
    run.set_provenance({"latency_s": "measured"})
    run.finish()

    record = RunDirectory.open(run.path).record

    assert record.timings_s == {"search": 2.0}
    assert record.provenance == {"latency_s": "measured"}
    assert record.state == "finished"


def test_what_a_search_found_reads_back(filled, make_history, front, chosen):
    run = RunDirectory.open(filled.path)

    assert run.read_history().costs.tolist() == make_history().costs.tolist()
    assert [list(member.architecture) for member in run.read_front()] == front.population.tolist()
    assert run.read_chosen() == chosen
    assert run.read_state()["search.arguments"] == "x"
    assert run.has("training.csv")
    assert not run.has("supernet.pt")


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
def test_a_damaged_file_is_one_line_and_never_another_error(filled, name, damage):
    content = (filled.path / name).read_bytes()
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
        (filled.path / name).write_bytes(variant)
        try:
            READERS[name](filled)
        except RunError as error:
            messages.append(str(error))
    assert "\n" not in "".join(messages)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_says_what_was_written_and_leaves_the_old_file(
    filled, name, code, monkeypatch
):
    before = {file.name: file.read_bytes() for file in filled.path.iterdir()}

    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError, match=f"disk is full: {name} .*written before is intact"):
        WRITERS[name](filled)

    assert {file.name: file.read_bytes() for file in filled.path.iterdir()} == before
    assert filled.record.state == "running"


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RunError, match="cannot write the run directory"):
        RunDirectory.create(tmp_path / "file" / "run", ARGUMENTS, target=TARGET, seed=0)
