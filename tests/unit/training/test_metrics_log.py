"""The log of a training run: both files hold every row once, at any moment."""

import csv
import math
import struct

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from hwnas.errors import RunError
from hwnas.training.metrics_log import MetricsLog


def masked(data):
    """Checksum of a record (TensorFlow, tfrecord format)."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(content):
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        data = content[12 : 12 + length]
        checks = struct.unpack("<I", content[8:12]) + struct.unpack(
            "<I", content[12 + length : 16 + length]
        )
        assert checks == (masked(struct.pack("<Q", length)), masked(data))
        yield Event.FromString(data)
        content = content[16 + length :]


def events(folder):
    """Step and values of every row in the only event file."""
    (file,) = (folder / "tensorboard").iterdir()
    first, *rest = records(file.read_bytes())
    assert first.file_version == "brain.Event:2"
    return [
        (event.step, {value.tag: value.simple_value for value in event.summary.value})
        for event in rest
    ]


def table(folder):
    with (folder / "training.csv").open(newline="") as file:
        return list(csv.DictReader(file))


ROWS = [(1, {"loss": 2.5, "rate": 0.5}), (2, {"loss": 1.25, "error": 0.75})]


def test_both_files_hold_every_row_as_soon_as_it_is_written(tmp_path):
    with MetricsLog(tmp_path) as log:
        for count, row in enumerate(ROWS, 1):
            log.write(*row)

            assert events(tmp_path) == ROWS[:count]
            assert len(table(tmp_path)) == count


def test_the_table_has_every_name_as_a_column(tmp_path):
    with MetricsLog(tmp_path) as log:
        for row in ROWS:
            log.write(*row)

    assert (tmp_path / "training.csv").read_text() == (
        "step,loss,rate,error\n1,2.5,0.5,\n2,1.25,,0.75\n"
    )


def test_a_resumed_log_holds_earlier_rows_once_and_drops_later_ones(tmp_path):
    with MetricsLog(tmp_path) as log:
        for step, values in [*ROWS, (3, {"loss": 9.0})]:  # the third was not checkpointed
            log.write(step, values)

    with MetricsLog(tmp_path, rows=ROWS) as log:
        assert events(tmp_path) == ROWS
        log.write(3, {"loss": 1.0})

    assert events(tmp_path) == [*ROWS, (3, {"loss": 1.0})]
    assert [row["loss"] for row in table(tmp_path)] == ["2.5", "1.25", "1.0"]


def test_a_log_without_rows_replaces_an_earlier_one(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(*ROWS[0])
    with MetricsLog(tmp_path):
        pass

    assert events(tmp_path) == []
    assert (tmp_path / "training.csv").read_text() == "step\n"


def test_numbers_that_are_not_finite_are_written_as_such(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write(1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e300})

    assert table(tmp_path) == [{"step": "1", "a": "nan", "b": "inf", "c": "-inf", "d": "1e+300"}]
    ((_, values),) = events(tmp_path)
    assert math.isnan(values["a"])
    assert [values[name] for name in "bcd"] == [math.inf, -math.inf, math.inf]


@pytest.mark.parametrize("step", [1, 2])
def test_steps_that_do_not_rise_are_refused_and_leave_the_log_as_it_was(tmp_path, step):
    with MetricsLog(tmp_path) as log:
        for row in ROWS:
            log.write(*row)
        with pytest.raises(RunError, match=f"has step 2 and was given step {step}"):
            log.write(step, {"loss": 0.0})

    assert events(tmp_path) == ROWS
    with pytest.raises(RunError, match="named 'step'"):
        MetricsLog(tmp_path, rows=[(1, {"step": 1.0})])
    assert events(tmp_path) == ROWS


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")

    with pytest.raises(RunError, match="cannot write tensorboard"):
        MetricsLog(tmp_path)
