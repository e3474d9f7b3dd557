import pytest

from hwnas.backends.cuda import availability
from hwnas.backends.cuda.availability import gpu_here
from hwnas.nvidia import search_gpu
from hwnas.targets import get_target
from hwnas.testing.fake_nvml import FakeNvml


@pytest.fixture
def device(monkeypatch):
    """Makes a made-up device the one that is here."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def here(nvml):
        monkeypatch.setattr(availability, "search_gpu", lambda: search_gpu(nvml))

    return here


@pytest.mark.parametrize("name", ["cuda", "nvidia_h200"])
def test_the_gpu_that_the_target_names_is_here(name, device):
    device(FakeNvml("NVIDIA H200"))

    assert gpu_here(get_target(name)) is None


def test_another_gpu_than_the_target_names_is_not_it(device):
    device(FakeNvml("NVIDIA A10"))

    found = gpu_here(get_target("nvidia_h200"))

    assert not found.works
    assert found.reason == "the GPU here is NVIDIA A10, not NVIDIA H200"
    assert "target cuda" in found.remedy


@pytest.mark.parametrize("nvml", [FakeNvml(driver=False), FakeNvml(devices=0)])
def test_without_a_gpu_there_is_a_reason_and_a_remedy(nvml, device):
    device(nvml)

    found = gpu_here(get_target("cuda"))

    assert not found.works
    assert found.reason
    assert found.remedy


def test_a_target_without_a_gpu_is_told_so():
    found = gpu_here(get_target("cpu"))

    assert not found.works
    assert "[gpu]" in found.reason
