"""TVM on GPUs: what is refused and why, kernels in batches, and, where there is one, a GPU."""

import numpy as np
import onnx
import pytest

from hwnas.backends import KernelBackend, ModelBackend, TuningBudget, get_backend, tvm_kernels
from hwnas.backends.cuda import availability
from hwnas.backends.cuda.tvm_cuda import DefaultTvmCudaBackend, TvmCudaBackend
from hwnas.backends.tvm_kernels import code_target, file_bytes
from hwnas.errors import LoweringError, TargetError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights
from hwnas.nvidia import search_gpu
from hwnas.targets import Settings, get_target
from hwnas.testing.fake_nvml import FakeNvml
from hwnas.tvm_worker import Installation, find_tvm
from hwnas.tvm_worker.messages import CodeTarget, FoundGpu

needs_tvm = pytest.mark.skipif(not find_tvm().works, reason=find_tvm().found)


def target(name="nvidia_h200", **settings):
    return get_target(name).with_settings(
        Settings(**{"runtime": "tvm", "precision": "float32", **settings})
    )


def small_graph():
    g = GraphBuilder("small")
    x = g.input("x", (1, 8, 6, 6))
    with g.scope("body"):
        y = g.relu(g.batch_norm(g.conv(x, 16, 1, name="conv"), name="norm"))
    g.output(g.global_average_pool(y), "output")
    graph = g.build()
    return graph, random_weights(graph, np.random.default_rng(0))


@pytest.fixture
def device(monkeypatch):
    """Makes a made-up device the one that is here, and TVM one that works."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(tvm_kernels, "find_tvm", lambda: Installation(True, "tvm"))

    def here(nvml):
        for module in (availability, tvm_kernels):
            monkeypatch.setattr(module, "search_gpu", lambda: search_gpu(nvml))

    return here


@pytest.fixture
def seen(monkeypatch):
    """What TVM sees of the device."""

    def tell(architecture, compiler):
        class Worker:
            def request(self, *_):
                return FoundGpu(architecture, compiler)

        monkeypatch.setattr(TvmCudaBackend, "_worker", lambda *_: Worker())

    return tell


def test_the_runtime_of_a_target_finds_the_backend():
    backend = get_backend(target())

    assert isinstance(backend, DefaultTvmCudaBackend)
    assert isinstance(backend, KernelBackend)
    assert isinstance(backend, ModelBackend)
    assert backend.runtime(target()).endswith(" dlight")


def test_the_right_gpu_that_tvm_sees_and_compiles_for_is_available(device, seen):
    device(FakeNvml("NVIDIA H200"))
    seen("sm_90", "nvcc")

    found = TvmCudaBackend().is_available(target())

    assert found.works
    assert "sm_90" in found.reason


@pytest.mark.parametrize(
    ("nvml", "architecture", "compiler", "reason"),
    [
        (FakeNvml("NVIDIA A10"), "sm_86", "nvcc", "NVIDIA A10, not NVIDIA H200"),
        (FakeNvml(driver=False), "", "nvcc", "no NVIDIA driver"),
        (FakeNvml("NVIDIA H200"), "", "nvcc", "does not see the GPU"),
        (FakeNvml("NVIDIA H200"), "sm_90", "", "no compiler of CUDA"),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    device, seen, nvml, architecture, compiler, reason
):
    device(nvml)
    seen(architecture, compiler)

    found = TvmCudaBackend().is_available(target())

    assert not found.works
    assert reason in found.reason
    assert found.remedy


def test_a_tvm_that_does_not_start_is_a_reason_and_no_error(device, monkeypatch):
    def broken(*_):
        raise TargetError("TVM does not start")

    device(FakeNvml("NVIDIA H200"))
    monkeypatch.setattr(TvmCudaBackend, "_worker", broken)

    found = TvmCudaBackend().is_available(target())

    assert (found.works, found.reason) == (False, "TVM does not start")


def test_tf32_is_refused_with_the_runtime_that_has_it():
    tf32 = target(precision="tf32")

    found = TvmCudaBackend().is_available(tf32)

    assert not found.works
    assert "tensor cores" in found.reason
    assert "--runtime torch" in found.remedy
    with pytest.raises(TargetError, match=r"tf32.*--runtime torch"):
        TvmCudaBackend().compile(*small_graph(), tf32)


def test_code_is_made_for_the_architecture_of_the_file_or_of_the_gpu_that_is_here(device):
    device(FakeNvml())

    assert code_target(target("nvidia_a100")) == CodeTarget(cuda="sm_80")
    assert code_target(target("cuda", precision="float16")) == CodeTarget(
        cuda="sm_90", precision="float16"
    )


def test_an_architecture_that_nobody_knows_is_asked_for(device):
    device(FakeNvml(driver=False))

    with pytest.raises(TargetError, match=r"add architecture to \[gpu\]"):
        code_target(target("cuda"))


@needs_tvm
def test_kernels_of_a_batch_are_lowered_and_none_is_left_to_tune():
    backend, batches = DefaultTvmCudaBackend(), target(batch=8, precision="float16")

    lowered = backend.lower({"small": small_graph()}, batches)
    report = backend.tune(lowered.kernels, batches, TuningBudget(), seed=0)

    assert any("8x6x6x8" in kernel.signature for kernel in lowered.kernels.values())
    assert report.left == ()
    single = backend.lower({"small": small_graph()}, target())
    assert not set(single.kernels) & set(lowered.kernels)


def test_a_model_that_has_its_batch_built_in_is_refused():
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "built_in",
        [onnx.helper.make_tensor_value_info("x", 1, (1, 4))],
        [onnx.helper.make_tensor_value_info("y", 1, (1, 2, 2))],
        [onnx.numpy_helper.from_array(np.array([1, 2, 2]), "shape")],
    )

    with pytest.raises(LoweringError, match="batch"):
        file_bytes(onnx.helper.make_model(graph), 8)


@needs_tvm
def test_a_gpu_gives_times_of_networks_and_of_kernels():
    here = target("cuda")
    backend, rng = DefaultTvmCudaBackend(), np.random.default_rng(0)
    found = backend.is_available(here)
    if not found.works:
        pytest.skip(found.reason)
    models = {"small": small_graph()}
    lowered = backend.lower(models, here)

    bench = backend.open_bench(models, lowered.kernels, here, rng)
    rounds = list(bench.round({"small", *lowered.kernels}, warmup=1, passes=3))
    bench.close()

    assert {name for names, _ in rounds for name in names} == {"small", *lowered.kernels}
    assert all((seconds > 0).all() for _, seconds in rounds)
    assert all((seconds[:, 0] == seconds[:, 1]).all() for _, seconds in rounds)
