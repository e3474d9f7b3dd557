"""A small space and data set, so that training takes a second; a pretended GPU."""

import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from hwnas.backends import Availability
from hwnas.backends.cuda import torch_cuda
from hwnas.backends.cuda.torch_programs import ProgramCache
from hwnas.datasets.dataset import load_dataset
from hwnas.nvidia import search_gpu
from hwnas.profiling import block_bench, device_watch, energy_meter, nvml_meter
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.testing.fake_nvml import FakeNvml
from hwnas.testing.host_clock import HostClock

PROGRAMS = ProgramCache(lambda traced: traced)  # traced once for all tests


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors gain nothing from several threads, and results then do not depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_space():
    """Two blocks at 8x8 pixels, the second of which can be absent."""

    def make(name="tiny"):
        decisions = [Decision("depth", (1, 2))]
        blocks = [
            ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
            ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
        ]
        for position in (1, 2):
            reads = {part: f"block.{position}.{part}" for part in ("kernel", "expand")}
            decisions += [Decision(reads["kernel"], (3, 5, 7)), Decision(reads["expand"], (2, 4))]
            present = Presence("depth", position) if position > 1 else None
            emit = partial(inverted_residual, width=8, squeeze_excite=True)
            blocks.append(ChoiceBlock(f"block.{position}", emit, reads, present=present))
        blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
        return SearchSpace(name, tuple(decisions), tuple(blocks))

    return make


@pytest.fixture(scope="session")
def space(make_space):
    return make_space()


@pytest.fixture(scope="session")
def digits():
    """The digits at 16x16 pixels, with 256 training images."""
    full = load_dataset("digits", resolution=16)
    return replace(full, name="tiny", x_train=full.x_train[:256], y_train=full.y_train[:256])


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
