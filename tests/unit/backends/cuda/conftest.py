import time

import numpy as np
import pytest

from hwnas.backends.cuda.torch_cuda import TorchCudaBackend
from hwnas.backends.cuda.torch_programs import ProgramCache
from hwnas.targets import Settings, get_target


class HostRecording:
    def __init__(self, parts, warmup, passes):
        self._parts = parts
        self._passes = (warmup, passes)

    def replay(self):
        warmup, passes = self._passes
        rows = []
        for _ in range(warmup + passes):
            stamps = [time.perf_counter()]
            for part in self._parts:
                part()
                stamps.append(time.perf_counter())
            rows.append(np.diff(stamps))
        return np.array(rows[warmup:])


class HostClock:
    """The processor in place of a GPU: the same calls, so the same programs and buffers."""

    device = "cpu"
    l2_bytes = 1 << 20

    def __init__(self):
        self.recorded = 0

    def record(self, parts, *, warmup, passes):
        self.recorded += 1
        return HostRecording(parts, warmup, passes)

    def repeated(self, work, copies):
        def run(times):
            for _ in range(times * copies):
                work()

        return run

    def wait(self):
        pass


@pytest.fixture
def clock():
    return HostClock()


@pytest.fixture
def backend(clock):
    return TorchCudaBackend(clock, ProgramCache(lambda traced: traced))


@pytest.fixture
def gpu():
    """A GPU target by settings; float32 by default, as the processor computes it."""

    def target(**settings):
        return get_target("nvidia_h200").with_settings(
            Settings(**{"precision": "float32", **settings})
        )

    return target
