import numpy as np
import pytest

from hwnas.costs import CostTable, Source
from hwnas.profiling.recorder import Recorder

SOURCE = Source("f", "r")
MEDIANS = {"a": 1e-3, "b": 2e-3, "c": 7e-3}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.sqlite"


def record(recorder, rounds, *, speed=1.0, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        keys = [sorted(MEDIANS)[i] for i in rng.permutation(len(MEDIANS))]
        seconds = [speed * MEDIANS[k] * (1 + 0.01 * rng.standard_normal()) for k in keys]
        recorder.add(keys, np.array([seconds, seconds]).T)


def test_estimates_are_the_medians(path):
    with CostTable(path) as table:
        recorder = Recorder(table, SOURCE, set(MEDIANS))
        assert recorder.estimates() == {}

        record(recorder, 40)

        found = recorder.estimates()
    assert {k: e.value for k, e in found.items()} == pytest.approx(MEDIANS, rel=0.01)
    assert all(e.repeats == 40 for e in found.values())


def test_what_was_flushed_survives_and_counts_in_the_next_session(path):
    with CostTable(path) as table:
        recorder = Recorder(table, SOURCE, set(MEDIANS))
        record(recorder, 20)
        recorder.flush()
        before = recorder.estimates()
        record(recorder, 5, seed=1)  # not flushed: what a kill would lose

    with CostTable(path) as table:
        again = Recorder(table, SOURCE, set(MEDIANS))

        assert again.estimates() == before

        record(again, 20, speed=1.8, seed=2)  # a slower day
        found = again.estimates()
    assert all(e.repeats == 40 for e in found.values())
    assert {k: e.value for k, e in found.items()} == pytest.approx(MEDIANS, rel=0.01)


def test_samples_are_written_by_themselves_once_they_are_old(path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("hwnas.profiling.recorder.time.monotonic", lambda: now[0])
    with CostTable(path) as table:
        recorder = Recorder(table, SOURCE, set(MEDIANS))
        record(recorder, 3)
        assert table.samples(SOURCE) == []

        now[0] = 1.5
        record(recorder, 1)

        assert len(table.samples(SOURCE)[0].keys) == 12


def test_flushing_twice_writes_nothing_twice(path):
    with CostTable(path) as table:
        recorder = Recorder(table, SOURCE, set(MEDIANS))
        record(recorder, 3)
        recorder.flush()
        recorder.flush()

        assert len(table.samples(SOURCE)[0].keys) == 9


def test_samples_of_other_sources_and_unwanted_keys_are_left_alone(path):
    with CostTable(path) as table:
        for source in (SOURCE, Source("other", "r")):
            recorder = Recorder(table, source, set(MEDIANS))
            record(recorder, 4)
            recorder.flush()

        found = Recorder(table, SOURCE, {"a", "z"}).estimates()

    assert list(found) == ["a"]
    assert found["a"].repeats == 4


def test_instances_of_a_kernel_count_alike_and_their_difference_is_no_spread(path):
    rng = np.random.default_rng(0)
    with CostTable(path) as table:
        recorder = Recorder(table, SOURCE, {"k", "steady"})
        for _ in range(60):
            seconds = [
                1.00e-3 * (1 + 0.002 * rng.standard_normal()),
                1.20e-3 * (1 + 0.002 * rng.standard_normal()),
                5.00e-3 * (1 + 0.002 * rng.standard_normal()),
            ]
            recorder.add(["k#0.0", "k#0.1", "steady"], np.array([seconds, seconds]).T)
        found = recorder.estimates()

    assert set(found) == {"k", "steady"}
    assert found["k"].value == pytest.approx(1.10e-3, rel=0.003)
    assert found["k"].relative_spread < 0.01
    assert found["k"].repeats == 120
