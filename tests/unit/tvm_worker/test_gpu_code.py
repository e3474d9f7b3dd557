"""Code for GPUs on a machine without one: what is generated, for which architecture, of what."""

import re
import shutil

import numpy as np
import onnxruntime
import pytest

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.errors import LoweringError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights
from hwnas.profiling.units import carriers, units_of
from hwnas.spaces import get_space
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.messages import CodeTarget

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

import tvm

from hwnas.tvm_worker.building import compile_module, is_gpu, target_of
from hwnas.tvm_worker.device_timing import time_kernels_on_device, time_networks_on_device
from hwnas.tvm_worker.gpu_schedules import ThreadPerResult, is_scheduled, schedule_for_gpu
from hwnas.tvm_worker.kernels import kernels_of
from hwnas.tvm_worker.networks import build_networks, compile_networks
from hwnas.tvm_worker.relax_module import fuse, import_onnx

ARCHITECTURES = ("sm_80", "sm_86", "sm_90")
GPU = target_of(CodeTarget(cuda="sm_90"))


def block():
    """Expansion, depthwise convolution, squeeze and excitation, projection, residual."""
    b = GraphBuilder("block")
    x = b.input("x", (1, 16, 14, 14))
    y = b.relu6(b.conv(x, 96, 1, name="expand", bias=True))
    y = b.hard_swish(b.conv(y, 96, 3, name="depthwise", group=96, bias=True))
    gate = b.relu(b.conv(b.global_average_pool(y), 24, 1, name="squeeze", bias=True))
    y = b.mul(y, b.hard_sigmoid(b.conv(gate, 96, 1, name="excite", bias=True)))
    b.output(b.add(b.conv(y, 16, 1, name="project", bias=True), x), "y")
    graph = b.build()
    return graph, random_weights(graph, np.random.default_rng(0))


def fused(precision="float32", batch=1, *, piece=False):
    content = model_bytes(*block(), batch)
    return fuse(import_onnx(content), precision=precision, piece=piece)


def device_code(executable):
    (host,) = executable.mod.imports
    (device,) = host.imports
    return device


def depthwise(precision="float32", batch=1):
    (kernel,) = (k for k in kernels_of(fused(precision, batch)).values() if " 3x3x" in k.signature)
    return kernel


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_block_becomes_cuda_source_with_every_kernel_bound_to_threads(architecture):
    module = fused()

    target = target_of(CodeTarget(cuda=architecture))
    executable, networks = compile_networks({"block": module}, target, None)

    scheduled = schedule_for_gpu(module, target)
    functions = [f for _, f in scheduled.functions_items() if isinstance(f, tvm.tirx.PrimFunc)]
    assert is_gpu(target)
    assert str(target.attrs["arch"]) == architecture
    assert functions
    assert all(is_scheduled(function) for function in functions)
    source = device_code(executable).inspect_source()
    assert device_code(executable).kind == "cuda"
    assert all(f"kernel_{key}" in source for key in networks["block"].kernels)


def test_naive_functions_do_not_count_as_scheduled():
    assert not is_scheduled(depthwise().function)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_keeps_float32_for_sums_and_at_the_borders_of_networks(precision):
    module = fused(precision)

    kernels = kernels_of(module)
    types = {kind for kernel in kernels.values() for _, kind in kernel.forms}
    products = depthwise(precision).function.script()
    assert str(module["main"].params[0].ty.dtype) == "float32"
    assert types == {"float32", precision}
    assert 'T.Cast("float32", param_0' in products
    piece = fused(precision, piece=True)
    assert {kind for k in kernels_of(piece).values() for _, kind in k.forms} == {precision}


@pytest.mark.parametrize(("precision", "steps"), [("float16", 2.0**-10), ("bfloat16", 2.0**-7)])
def test_half_precision_is_off_by_its_rounding_and_no_more(precision, steps):
    x = np.random.default_rng(1).standard_normal((8, 16, 14, 14), dtype=np.float32)
    session = onnxruntime.InferenceSession(model_bytes(*block(), 8))
    (expected,) = session.run(None, {"x": x})

    executable = compile_module(fused(precision, 8), target_of(CodeTarget()))

    found = tvm.relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    off = np.abs(found - expected).max() / np.abs(expected).max()
    assert found.dtype == np.float32
    assert 0 < off < 4 * steps


def test_a_weight_beyond_float16_is_refused_and_taken_by_bfloat16():
    graph, weights = block()
    weights["project/bias"] = np.full_like(weights["project/bias"], 1e5)
    content = model_bytes(graph, weights)

    with pytest.raises(LoweringError, match="100000, which is beyond its range"):
        fuse(import_onnx(content), precision="float16")
    assert fuse(import_onnx(content), precision="bfloat16")["main"] is not None


def test_kernels_of_a_batch_have_its_shapes():
    signatures = [kernel.signature for kernel in kernels_of(fused(batch=8)).values()]

    assert any(re.search(r"conv2d\S* 8x14x14x16 1x1x16x96 .*-> 8x14x14x96", s) for s in signatures)
    assert all("8x" in signature for signature in signatures)


def test_kernels_of_pieces_are_those_of_networks_that_hold_them():
    space, rng = get_space("mbconv-digits@16"), np.random.default_rng(0)
    units = dict(list(units_of(space).items())[:1])
    graphs = [space.network(a) for a in carriers(space, units, rng)]

    def keys(graph, *, piece):
        content = model_bytes(graph, random_weights(graph, rng), 2)
        module = fuse(import_onnx(content), precision="float16", piece=piece)
        return {kernel.key for kernel in kernels_of(module).values()}

    held = set().union(*(keys(graph, piece=False) for graph in graphs))
    for unit in units.values():
        assert keys(unit.fragment.graph, piece=True) <= held


def test_few_results_of_long_sums_are_left_to_other_rules():
    pools = [k for k in kernels_of(fused()).values() if k.signature.startswith("mean ")]

    assert pools
    assert all(ThreadPerResult().apply(pool.function, GPU, False) is None for pool in pools)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.parametrize(
    ("architecture", "precision"), [("sm_80", "bfloat16"), ("sm_90", "float16")]
)
def test_nvcc_compiles_what_is_generated(architecture, precision):
    target = target_of(CodeTarget(cuda=architecture))
    executable, _ = compile_networks({"block": fused(precision, 8)}, target, None)
    source = device_code(executable).inspect_source()

    with target:
        made = tvm.support.nvcc.compile_cuda(source, target_format="cubin", compiler="nvcc")

    assert bytes(made[:4]) == b"\x7fELF"


def test_the_evaluator_times_networks_and_each_call_of_a_kernel():
    networks = build_networks({"block": fused()}, target_of(CodeTarget()), None)
    network = networks["block"]

    whole = time_networks_on_device([network, network], warmup=1, passes=2)
    parts = time_kernels_on_device(network, warmup=1, passes=2)

    assert len(whole) == 2
    assert len(parts) == len(network.kernels)
    assert all(first == second > 0 for first, second in (*whole, *parts))


@pytest.mark.skipif(not tvm.device("cuda").exist, reason="TVM sees no NVIDIA GPU")
def test_a_gpu_computes_what_onnx_runtime_does_and_is_timed():
    x = np.random.default_rng(1).standard_normal((8, 16, 14, 14), dtype=np.float32)
    session = onnxruntime.InferenceSession(model_bytes(*block(), 8))
    (expected,) = session.run(None, {"x": x})
    architecture = "sm_" + str(tvm.cuda().compute_version).replace(".", "")

    target = target_of(CodeTarget(cuda=architecture))
    network = build_networks({"block": fused(batch=8)}, target, None)["block"]

    (found,) = network.run_on([x])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
    ((whole, _),) = time_networks_on_device([network], warmup=3, passes=5)
    parts = time_kernels_on_device(network, warmup=3, passes=5)
    assert 0 < whole < 1
    assert all(0 < seconds < 1 for seconds, _ in parts)
