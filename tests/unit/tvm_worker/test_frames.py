"""Messages between processes, as they arrive: together, in parts, cut off, not at all."""

import io
import os
import threading
import time

import pytest

from hwnas.tvm_worker.frames import read_frame, receive_frame, write_frame


def frame(content):
    stream = io.BytesIO()
    write_frame(stream, content)
    return stream.getvalue()


@pytest.fixture
def pipe():
    """Reading end as `Popen` gives it, and writing end of a pipe."""
    reading, writing = os.pipe()
    with open(reading, "rb") as reader, open(writing, "wb", buffering=0) as writer:  # noqa: PTH123
        yield reader, writer


def soon():
    return time.monotonic() + 60.0


def test_messages_that_arrive_together_are_read_one_by_one(pipe):
    reader, writer = pipe
    writer.write(frame(b"working") + frame(b"done"))

    assert receive_frame(reader, soon()) == b"working"
    assert receive_frame(reader, soon()) == b"done"


def test_a_message_larger_than_the_pipe_is_read_whole(pipe):
    reader, writer = pipe
    content = os.urandom(1 << 20)
    thread = threading.Thread(target=write_frame, args=(writer, content))
    thread.start()

    assert receive_frame(reader, soon()) == content
    thread.join()


@pytest.mark.parametrize("kept", [0, 3, 8, 12])
def test_a_message_cut_off_is_none(pipe, kept):
    reader, writer = pipe
    part = frame(b"working")[:kept]
    writer.write(part)
    writer.close()

    assert receive_frame(reader, soon()) is None
    assert read_frame(io.BytesIO(part)) is None


@pytest.mark.parametrize("kept", [0, 12])
def test_what_does_not_come_in_time_is_an_error(pipe, kept):
    reader, writer = pipe
    writer.write(frame(b"working")[:kept])

    with pytest.raises(TimeoutError):
        receive_frame(reader, time.monotonic())


def test_an_absurd_length_is_none():
    assert read_frame(io.BytesIO(b"\xff" * 20)) is None
