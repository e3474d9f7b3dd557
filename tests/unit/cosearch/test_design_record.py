import json
import math

import numpy as np
import pytest

from hwnas.cosearch import DesignEvaluator, Specs
from hwnas.cosearch.design_record import (
    describe_design,
    network_record,
    read_design,
    write_design,
)
from hwnas.errors import RunError


def described(tables, specs, row, errors=(0.1, 0.3)):
    networks = [
        network_record(
            tables,
            task,
            part[0],
            weight=0.5,
            score="accuracy",
            validation_error=errors[task],
            test_error=None,
            provenance="measured",
        )
        for task, part in enumerate(tables.joint.split(row[None])[:-1])
    ]
    scheduled = DesignEvaluator(tables, specs).schedule(row)
    return describe_design(tables, specs, row, scheduled, networks, "nasaic"), scheduled


@pytest.fixture
def row(tables, middling_specs):
    drawn = tables.joint.sample(300, np.random.default_rng(0))
    meets = DesignEvaluator(tables, middling_specs).violation(drawn) <= 0
    both = (tables.point_numbers(drawn) >= 0).all(axis=1)
    return drawn[np.flatnonzero(meets & both)[0]]


def test_a_record_reads_back_as_it_was_written(tables, middling_specs, row, tmp_path):
    record, _ = described(tables, middling_specs, row)

    write_design(tmp_path / "chosen.json", record)

    assert read_design(tmp_path / "chosen.json") == record


def test_the_bars_add_up_to_the_design(tables, middling_specs, row):
    record, scheduled = described(tables, middling_specs, row)

    assert max(bar.end_cycles for bar in record.schedule) == record.latency_cycles
    assert sum(bar.energy_j for bar in record.schedule) == pytest.approx(record.energy_j)
    assert sum(sub.area_mm2 for sub in record.hardware) == pytest.approx(record.area_mm2)
    assert len(record.schedule) == (scheduled.layers >= 0).sum()
    for sub in record.hardware:
        own = [bar for bar in record.schedule if bar.sub_accelerator == sub.name]
        busy = sum(bar.end_cycles - bar.start_cycles for bar in own)
        assert sub.busy_cycles == pytest.approx(busy)
        assert sub.busy_share == pytest.approx(busy / record.latency_cycles)
        assert sub.utilisation <= sub.busy_share
    assert record.latency_s == record.latency_cycles / tables.technology.clock_hz
    assert record.weighted_error == pytest.approx(0.2)


def test_a_design_within_the_specs_has_a_gap_of_energy(tables, middling_specs, row):
    record, scheduled = described(tables, middling_specs, row)

    assert record.specs_met
    assert record.missed == {}
    assert record.energy_gap == max(0.0, 1 - scheduled.energy_bound_j / scheduled.energy_j)
    assert record.latency_gap is None


def test_a_design_beyond_the_specs_says_what_it_misses(tables, row):
    record, _ = described(tables, Specs(latency_cycles=10.0, area_mm2=1e6), row)

    assert not record.specs_met
    assert list(record.missed) == ["latency_cycles"]
    assert record.missed["latency_cycles"] == record.latency_cycles / 10.0
    assert record.energy_gap is None
    assert 0.0 <= record.latency_gap < 1.0


def test_a_design_that_cannot_run_has_no_latency(tables, middling_specs, row, tmp_path):
    _, scheduled = described(tables, middling_specs, row)
    nothing = type(scheduled)(
        scheduled.layers,
        scheduled.points,
        np.full_like(scheduled.assignment, -1),
        np.full_like(scheduled.start_cycles, np.nan),
        *(math.inf, math.inf, scheduled.area_mm2, math.inf, math.inf),
    )

    record = describe_design(tables, middling_specs, row, nothing, [], "nasaic")
    write_design(tmp_path / "chosen.json", record)

    assert read_design(tmp_path / "chosen.json").latency_cycles is None
    assert record.missed["energy_j"] is None
    assert record.schedule == []


def test_a_network_that_was_not_trained_has_no_error(tables, middling_specs, row):
    record, _ = described(tables, middling_specs, row, errors=(0.1, None))

    assert record.weighted_error is None


@pytest.mark.parametrize("change", [{"kind": "network"}, {"more": 1}, {"area_mm2": -1.0}])
def test_a_changed_record_is_refused(change, tables, middling_specs, row, tmp_path):
    path = tmp_path / "chosen.json"
    write_design(path, described(tables, middling_specs, row)[0])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(RunError, match="malformed"):
        read_design(path)
