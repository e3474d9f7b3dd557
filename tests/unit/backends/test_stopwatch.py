import numpy as np

from hwnas.backends.stopwatch import time_chain


class Clock:
    """A clock that a run moves on by hand."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


class Work:
    def __init__(self, clock, costs_ns):
        self.clock, self.costs, self.runs = clock, list(costs_ns), 0

    def run(self):
        self.clock.now += self.costs[min(self.runs, len(self.costs) - 1)]
        self.runs += 1


def test_a_sample_is_the_median_of_the_timed_passes_after_the_warm_up():
    clock = Clock()
    first, second = Work(clock, [900, 100, 500, 300]), Work(clock, [7, 20, 20, 20])

    sample = time_chain([first, second], clock, warmup=1, passes=3)

    assert sample.shape == (2, 2)
    np.testing.assert_allclose(sample[:, 0], [300e-9, 20e-9])
    assert (sample[:, 1] > 0).all()
    assert first.runs == second.runs == 4


def test_an_empty_chain_takes_no_samples():
    assert time_chain([], Clock(), warmup=1, passes=3).shape == (0, 2)
