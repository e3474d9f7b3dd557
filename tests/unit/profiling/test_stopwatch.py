import numpy as np

from hwnas.profiling import Protocol
from hwnas.profiling.stopwatch import Stopwatch
from hwnas.targets import get_target


class FakeBackend:
    """A clock that a run moves on by hand."""

    def __init__(self):
        self.now = 0

    def clock_ns(self, target):
        return self.now


class Work:
    def __init__(self, backend, costs_ns):
        self.backend, self.costs, self.runs = backend, list(costs_ns), 0

    def run(self):
        self.backend.now += self.costs[min(self.runs, len(self.costs) - 1)]
        self.runs += 1


def test_a_sample_is_the_median_of_the_timed_passes_after_the_warm_up():
    backend = FakeBackend()
    first, second = Work(backend, [900, 100, 500, 300]), Work(backend, [7, 20, 20, 20])
    stopwatch = Stopwatch(backend, get_target("cpu"), Protocol(passes=3, warmup=1))

    sample = stopwatch.sample([first, second])

    assert sample.shape == (2, 2)
    np.testing.assert_allclose(sample[:, 0], [300e-9, 20e-9])
    assert (sample[:, 1] > 0).all()
    assert first.runs == second.runs == 4


def test_an_empty_chain_takes_no_samples():
    stopwatch = Stopwatch(FakeBackend(), get_target("cpu"), Protocol())

    assert stopwatch.sample([]).shape == (0, 2)
