"""What schedules for GPUs compute: their CUDA code, run on the processor."""

from functools import cache

import numpy as np
import pytest

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.errors import LoweringError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.messages import CodeTarget

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

import tvm
from tvm.s_tir.dlight.gpu.matmul import MatmulTensorization

from hwnas.testing.cuda_on_cpu import run_cuda_on_cpu
from hwnas.tvm_worker.building import target_of
from hwnas.tvm_worker.gpu_schedules import SCHEDULES, schedule_as, schedule_for_gpu
from hwnas.tvm_worker.kernels import kernels_of
from hwnas.tvm_worker.relax_module import fuse, import_onnx

GPU = target_of(CodeTarget(cuda="sm_90"))
ELSEWHERE = ("gemv", "general reduction", "tensor cores")  # what no thread alone can stand in for


@cache
def kernels(precision="float32"):
    """A product, a depthwise convolution and a mean, of sides that no tile divides."""
    b = GraphBuilder("parts")
    x = b.input("x", (1, 24, 9, 9))
    y = b.relu(b.conv(x, 72, 1, name="product", bias=True))
    y = b.relu6(b.conv(y, 72, 3, name="depthwise", group=72, bias=True))
    b.output(b.global_average_pool(y), "y")
    graph = b.build()
    content = model_bytes(graph, random_weights(graph, np.random.default_rng(0)))
    found = kernels_of(fuse(import_onnx(content), precision=precision)).values()
    named = {"product": " 1x1x24x72", "depthwise": " 3x3x1x72", "mean": "mean "}
    return {n: k for n, part in named.items() for k in found if part in k.signature}


def on_the_processor(kernel, arrays):
    named = tvm.IRModule({"kernel": kernel.function.with_attr("global_symbol", "kernel")})
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    tvm.tirx.build(named, target="llvm")["kernel"](*tensors)
    return tensors[-1].numpy()


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name not in ELSEWHERE])
def test_a_schedule_computes_what_the_naive_function_does(schedule, tmp_path):
    rng, ran = np.random.default_rng(0), []
    for name, kernel in kernels().items():
        scheduled = schedule_as(schedule, name, kernel.function, GPU)
        if scheduled is None:
            continue
        arrays = [rng.standard_normal(shape).astype(kind) for shape, kind in kernel.forms]
        try:
            (tmp_path / name).mkdir()
            found = run_cuda_on_cpu(scheduled, GPU, arrays, tmp_path / name)
        except LoweringError:
            continue
        ran.append(name)
        expected = on_the_processor(kernel, arrays)
        assert expected.std() > 0.01
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    assert ran or schedule == "fallback"  # whose sum and end are two functions


def test_tensor_cores_are_not_tried_where_nothing_is_half_precision(monkeypatch):
    asked = []
    monkeypatch.setattr(MatmulTensorization, "apply", lambda *_: asked.append(1))

    for precision in ("float32", "float16"):
        for name, kernel in kernels(precision).items():
            assert schedule_as("tensor cores", name, kernel.function, GPU) is None
        assert bool(asked) == (precision == "float16")


def test_a_schedule_that_does_not_fit_is_none():
    kernel = kernels()["depthwise"]

    assert schedule_as("matmul", "depthwise", kernel.function, GPU) is None


def test_what_is_scheduled_stays_as_it_is():
    kernel = kernels()["product"]
    chosen = schedule_as("matmul 8x32 of 2x2, 16 deep", "product", kernel.function, GPU)
    module = tvm.IRModule({"kernel": chosen.with_attr("global_symbol", "kernel")})

    again = schedule_for_gpu(module, GPU)

    assert again["kernel"].script() == module["kernel"].script()
