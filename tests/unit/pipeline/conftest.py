import time

import pytest

from hwnas.backends import Availability
from hwnas.backends.cuda import torch_cuda
from hwnas.backends.cuda.torch_programs import ProgramCache
from hwnas.nvidia import search_gpu
from hwnas.profiling import block_bench, device_watch, energy_meter, nvml_meter
from hwnas.testing.fake_nvml import FakeNvml
from hwnas.testing.host_clock import HostClock

PROGRAMS = ProgramCache(lambda traced: traced)  # traced once for all tests


@pytest.fixture
def pretend_gpu(monkeypatch):
    """The processor stands in for an H200, at 300 W, or 75 W idle, whose counter moves every
    2 ms.

    Call it with what NVML lacks.
    """

    def pretend(**nvml):
        def energy_mj():
            return int(300_000 * 0.002 * (time.perf_counter() // 0.002))

        def idle_power_w(meter):
            meter._gpu.energy_j()  # as it would be read
            return 75.0

        library = FakeNvml(energy_mj=energy_mj, **nvml)
        found = search_gpu(library)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(energy_meter, "search_gpu", lambda: found)
        monkeypatch.setattr(device_watch, "find_gpu", lambda: found.gpu)
        monkeypatch.setattr(nvml_meter, "_WINDOW_S", 0.01)
        monkeypatch.setattr(nvml_meter, "_LONGEST_S", 0.5)
        monkeypatch.setattr(nvml_meter.NvmlMeter, "_idle_power_w", idle_power_w)
        monkeypatch.setattr(block_bench, "_REVIEW_S", 0.2)
        clock = HostClock()
        monkeypatch.setattr(torch_cuda, "_shared_clock", lambda: clock)
        monkeypatch.setattr(torch_cuda, "_shared_programs", lambda: PROGRAMS)
        monkeypatch.setattr(
            torch_cuda.TorchCudaBackend, "is_available", lambda *_: Availability(True, "pretended")
        )

    return pretend
