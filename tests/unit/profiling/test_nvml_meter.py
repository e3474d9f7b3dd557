import numpy as np
import pytest

from hwnas.errors import MeasurementError
from hwnas.nvidia import NvidiaGpu
from hwnas.profiling.nvml_meter import NvmlMeter
from hwnas.testing.fake_nvml import FakeNvml

IDLE_W = 75.0


class Board:
    """A GPU whose counter moves every 100 ms, and whose work takes time and power."""

    def __init__(self, *, noise_w=0.0, moves=True):
        self.now = 0.0
        self._joules = 0.0
        self._shown = 0
        self._next_move = 0.1
        self._moves = moves
        self._rng = np.random.default_rng(0)
        self._noise_w = noise_w
        self.gpu = NvidiaGpu(FakeNvml(energy_mj=lambda: self._shown), 0)

    def pass_time(self, seconds, power_w=IDLE_W):
        end = self.now + seconds
        while self._next_move <= end:
            self._joules += power_w * (self._next_move - self.now)
            self._joules += self._noise_w * 0.1 * self._rng.standard_normal()
            self.now = self._next_move
            self._next_move += 0.1
            if self._moves:
                self._shown = round(1e3 * self._joules)
        self._joules += power_w * (end - self.now)
        self.now = end

    def meter(self):
        return NvmlMeter(self.gpu, clock=lambda: self.now, sleep=self.pass_time)


class Work:
    def __init__(self, board, seconds, power_w):
        self._board = board
        self._seconds = seconds
        self._power_w = power_w

    def run(self):
        self._board.pass_time(self._seconds, self._power_w)


class RepeatingWork(Work):
    def repeat(self):
        self._board.pass_time(50 * self._seconds, self._power_w)
        return 50


def test_idle_power_is_measured_first():
    assert Board().meter().idle_power_w == pytest.approx(IDLE_W, rel=0.02)


def test_energy_is_that_of_one_run_above_idle():
    board = Board()
    found = board.meter().energy_of(RepeatingWork(board, seconds=4e-4, power_w=375.0))

    assert found.value == pytest.approx(300.0 * 4e-4, rel=0.02)
    assert found.low <= found.value <= found.high
    assert found.relative_interval < 0.03
    assert found.repeats >= 10


def test_an_executable_that_waits_between_runs_is_refused():
    board = Board()

    with pytest.raises(MeasurementError, match="waits between one run and the next"):
        board.meter().energy_of(Work(board, seconds=0.01, power_w=175.0))


def test_a_noisy_counter_is_watched_longer():
    steady, noisy = Board(), Board(noise_w=60.0)
    work = {board: RepeatingWork(board, seconds=4e-4, power_w=375.0) for board in (steady, noisy)}
    begins = {board: 0.0 for board in work}
    for board in work:
        meter = board.meter()
        begins[board] = board.now
        found = meter.energy_of(work[board])
        assert found.value == pytest.approx(0.12, rel=0.15)

    assert noisy.now - begins[noisy] > 1.5 * (steady.now - begins[steady])
    assert noisy.now - begins[noisy] < 7.0


def test_a_counter_that_stands_still_is_refused():
    with pytest.raises(MeasurementError, match="moved 0 times in 12 s"):
        Board(moves=False).meter()


def test_a_board_without_counter_is_refused():
    gpu = NvidiaGpu(FakeNvml(lacking={"nvmlDeviceGetTotalEnergyConsumption"}), 0)

    with pytest.raises(MeasurementError, match="Not Supported"):
        NvmlMeter(gpu)
