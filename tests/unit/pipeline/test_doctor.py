import pytest

from hwnas.nvidia import search_gpu
from hwnas.pipeline import doctor
from hwnas.testing.fake_nvml import FakeNvml


@pytest.fixture
def gpu_checks(monkeypatch):
    def look(**nvml):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(doctor, "search_gpu", lambda: search_gpu(FakeNvml(**nvml)))
        return {check.part: check for check in doctor._gpu()}

    return look


def test_a_machine_without_a_gpu_has_one_line_about_it(gpu_checks):
    checks = gpu_checks(driver=False)

    assert list(checks) == ["GPU"]
    assert not checks["GPU"].works
    assert "no NVIDIA driver answers" in checks["GPU"].found


def test_a_gpu_is_told_with_the_runtimes_that_work_on_it(gpu_checks):
    checks = gpu_checks()

    assert checks["GPU"].works
    assert checks["GPU"].found == "NVIDIA H200, driver 580.65.06, sm_90"
    for runtime in ("torch", "tvm", "onnxruntime", "tensorrt"):
        check = checks[f"GPU runtime {runtime}"]
        assert check.works or check.remedy
    assert checks["GPU energy counter"].works


def test_a_gpu_without_counter_is_told_that_energy_is_not_known(gpu_checks):
    check = gpu_checks(lacking={"nvmlDeviceGetTotalEnergyConsumption"})["GPU energy counter"]

    assert not check.works
    assert "energy is not known" in check.found
