"""The clock of GPUs over a made-up `torch.cuda`, and inputs in turn."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hwnas.backends.cuda.device_clock import CudaClock
from hwnas.backends.cuda.input_rotation import InputRotation


class FakeCuda:
    """A device on which each part takes 2 ms; what is recorded runs when it is replayed."""

    def __init__(self, monkeypatch):
        self.log = []
        self.now_ms = 0.0
        self.recording = None
        cuda = self

        class Event:
            def __init__(self, *, enable_timing, external):
                assert enable_timing
                assert external

            def record(self):
                cuda.do("mark", lambda: setattr(self, "at_ms", cuda.now_ms))

            def elapsed_time(self, end):
                return end.at_ms - self.at_ms

        class Graph:
            def capture_begin(self, pool, capture_error_mode):
                assert (pool, capture_error_mode) == ("pool", "thread_local")
                self.steps = cuda.recording = []

            def capture_end(self):
                cuda.recording = None

            def replay(self):
                cuda.log.append("replay")
                for step in self.steps:
                    step()

        for name, value in {
            "Event": Event,
            "CUDAGraph": Graph,
            "Stream": object,
            "stream": lambda _stream: nullcontext(),
            "graph_pool_handle": lambda: "pool",
            "synchronize": lambda: self.log.append("wait"),
            "get_device_properties": lambda: SimpleNamespace(L2_cache_size=50 << 20),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def do(self, name, step):
        """What a launch does: it is recorded, or it runs now."""
        if self.recording is None:
            self.log.append(name)
            step()
        else:
            self.recording.append(step)

    def part(self):
        self.do("part", lambda: setattr(self, "now_ms", self.now_ms + 2.0))


@pytest.fixture
def cuda(monkeypatch):
    return FakeCuda(monkeypatch)


def test_every_part_of_every_timed_pass_has_its_time(cuda):
    recording = CudaClock().record([cuda.part, cuda.part, lambda: None], warmup=1, passes=2)

    np.testing.assert_allclose(recording.replay(), [[2e-3, 2e-3, 0.0]] * 2)
    assert cuda.now_ms == 2.0 * (2 + 3 * 2)  # once before, and three passes


def test_work_runs_once_and_is_waited_for_before_it_is_recorded(cuda):
    CudaClock().record([cuda.part], warmup=0, passes=1)

    assert cuda.log == ["wait", "part", "wait"]


def test_a_recording_can_be_replayed_again(cuda):
    recording = CudaClock().record([cuda.part], warmup=0, passes=1)

    assert recording.replay().tolist() == recording.replay().tolist() == [[2e-3]]
    assert cuda.log[-4:] == ["replay", "wait", "replay", "wait"]


def test_nothing_takes_no_time(cuda):
    assert CudaClock().record([], warmup=1, passes=3).replay().shape == (3, 0)


def test_repeated_work_is_waited_for_once(cuda):
    run = CudaClock().repeated(cuda.part, copies=4)
    before, cuda.log[:] = cuda.now_ms, []

    run(3)

    assert cuda.now_ms - before == 2.0 * 4 * 3
    assert cuda.log == ["replay"] * 3 + ["wait"]


def test_a_failure_while_recording_ends_the_recording(cuda):
    calls = []

    def fails():
        calls.append(0)
        if len(calls) > 1:
            raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        CudaClock().record([fails], warmup=0, passes=1)
    assert cuda.recording is None


def test_the_cache_of_the_device_is_asked_for(cuda):
    assert CudaClock().l2_bytes == 50 << 20


def rotation(cache_bytes):
    return InputRotation("cpu", cache_bytes, torch.float16, torch.channels_last)


def test_inputs_fill_the_cache_twice_before_one_comes_again():
    inputs = rotation(cache_bytes=10_000)
    size = 2 * 3 * 4 * 4

    given = [inputs.next((1, 3, 4, 4)) for _ in range(500)]

    addresses = [tensor.data_ptr() for tensor in given]
    again = addresses.index(addresses[0], 1)
    assert again * size >= 2 * 10_000
    assert addresses[again : 2 * again] == addresses[:again]


def test_inputs_have_the_form_of_the_network():
    one = rotation(0).next((2, 3, 4, 4))

    assert one.dtype == torch.float16
    assert one.is_contiguous(memory_format=torch.channels_last)
    assert rotation(0).next((7,)).shape == (7,)


def test_inputs_of_one_shape_differ():
    inputs = rotation(cache_bytes=1 << 20)

    assert not torch.equal(inputs.next((1, 64)), inputs.next((1, 64)))
