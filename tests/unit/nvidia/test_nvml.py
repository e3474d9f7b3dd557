import pytest

from hwnas.errors import MeasurementError
from hwnas.nvidia import GpuState, NvidiaGpu, search_gpu
from hwnas.testing.fake_nvml import FakeNvml


def test_a_gpu_tells_what_it_is():
    gpu = NvidiaGpu(FakeNvml(name=b"NVIDIA H200"), 0)

    assert gpu.name == "NVIDIA H200"
    assert gpu.architecture == "sm_90"
    assert gpu.driver == "580.65.06"


def test_energy_is_read_in_joules():
    assert NvidiaGpu(FakeNvml(energy_mj=[12_345]), 0).energy_j() == pytest.approx(12.345)


def test_state_is_in_si_units_and_names_what_throttles():
    nvml = FakeNvml(reasons=0x001 | 0x004 | 0x040)

    assert NvidiaGpu(nvml, 0).state() == GpuState(
        1.98e9, 3.201e9, 41.0, 123.4, ("power cap", "hardware thermal slowdown")
    )


def test_an_idle_gpu_is_not_called_throttled():
    assert NvidiaGpu(FakeNvml(reasons=0x001), 0).state().throttled_by == ()


def test_what_a_device_does_not_tell_is_none_and_no_error():
    nvml = FakeNvml(lacking={"nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature"})

    state = NvidiaGpu(nvml, 0).state()

    assert state.power_w is None
    assert state.temperature_c is None
    assert state.clock_hz == 1.98e9


def test_an_older_drivers_name_for_the_reasons_is_asked_too():
    nvml = FakeNvml(reasons=0x020, lacking={"nvmlDeviceGetCurrentClocksEventReasons"})

    assert NvidiaGpu(nvml, 0).state().throttled_by == ("thermal slowdown",)


def test_a_device_without_the_counter_says_so():
    nvml = FakeNvml(lacking={"nvmlDeviceGetTotalEnergyConsumption"})

    with pytest.raises(MeasurementError, match="TotalEnergyConsumption: Not Supported"):
        NvidiaGpu(nvml, 0).energy_j()


def test_the_counter_of_a_partitioned_device_is_not_taken_for_the_parts():
    with pytest.raises(MeasurementError, match="MIG"):
        NvidiaGpu(FakeNvml(mig=1), 0).energy_j()


def test_the_first_device_is_taken(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    found = search_gpu(FakeNvml())

    assert found.gpu is not None
    assert found.gpu.uuid == "GPU-0"
    assert found.reason == "NVIDIA H200, driver 580.65.06"


@pytest.mark.parametrize(("visible", "uuid"), [("1", "GPU-1"), ("GPU-1,GPU-0", "GPU-1")])
def test_the_first_visible_device_is_taken(monkeypatch, visible, uuid):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    gpu = search_gpu(FakeNvml(devices=2)).gpu

    assert gpu is not None
    assert gpu.uuid == uuid


@pytest.mark.parametrize("visible", ["", "-1", " -1"])
def test_hidden_devices_are_left_alone(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    found = search_gpu(FakeNvml())

    assert found.gpu is None
    assert "hides" in found.reason


@pytest.mark.parametrize("visible", ["7", "GPU-7", "; rm -rf"])
def test_a_visible_device_that_is_not_there_is_named(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    found = search_gpu(FakeNvml())

    assert found.gpu is None
    assert repr(visible) in found.reason


def test_a_machine_without_a_driver_is_told_apart(monkeypatch):
    found = search_gpu(FakeNvml(driver=False))

    assert found.gpu is None
    assert "no NVIDIA driver answers" in found.reason
