"""Libraries and C plans as the TVM process makes them, without the process."""

from math import prod

import numpy as np
import onnxruntime as ort
import pytest

from hwnas.errors import LoweringError, TargetError
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.spaces import get_space
from hwnas.tvm_worker import find_tvm

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

from hwnas.tvm_worker.c_source import c_network
from hwnas.tvm_worker.exporting import export_library, run_library
from hwnas.tvm_worker.messages import CodeTarget, ExportLibrary
from hwnas.tvm_worker.relax_module import fuse, import_onnx


@pytest.fixture(scope="module")
def model():
    space, rng = get_space("mbconv-digits@16"), np.random.default_rng(0)
    graph = space.network(space.smallest())
    return to_onnx(*fold_batch_norm(graph, random_weights(graph, rng))).SerializeToString()


@pytest.fixture(scope="module")
def plan(model):
    return c_network(fuse(import_onnx(model)))


def test_a_library_computes_each_image_as_onnx_runtime_does(model, tmp_path):
    images = np.random.default_rng(1).standard_normal((3, 1, 16, 16), dtype=np.float32)
    path = tmp_path / "model.so"

    done = export_library(ExportLibrary(model, CodeTarget(), str(path)))

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    expected = [session.run(None, {"input": image[None]})[0] for image in images]
    np.testing.assert_allclose(run_library(path, images), np.concatenate(expected), rtol=1e-4)
    assert done.kernels == len(done.untuned)
    assert done.cpu != "host"


def test_an_unknown_processor_is_refused_before_code_is_made(model, tmp_path):
    target = CodeTarget("cortex-a72", "x86_64-linux-gnu")

    with pytest.raises(TargetError, match="no processor 'cortex-a72' for 'x86_64-linux-gnu'"):
        export_library(ExportLibrary(model, target, str(tmp_path / "model.so")))


def test_a_plan_calls_functions_that_the_source_defines(plan):
    defined = {
        line.split("(")[0].split()[-1]
        for line in plan.kernels.splitlines()
        if line.startswith("static void") and line.endswith("{")
    }

    assert {call.function for call in plan.calls} == defined


def test_a_plan_keeps_every_buffer_inside_the_arena_and_writes_the_output_once(plan):
    places = [place for call in plan.calls for place in call.arguments]

    assert all(0 <= p.offset < plan.arena_floats for p in places if p.kind == "arena")
    assert [p.kind for p in places].count("output") == 1
    assert {p.offset for p in places if p.kind == "weight"} == set(range(len(plan.weights)))
    assert plan.input_shape == (1, 1, 16, 16)
    assert plan.output_shape == (1, 10)


def test_a_plan_needs_less_memory_than_all_tensors_together(plan):
    parameters = {
        call.function: len([p for p in call.arguments if p.kind == "arena"]) for call in plan.calls
    }

    assert parameters
    assert plan.arena_floats < 16 * 16 * 8 * len(plan.calls)
    assert plan.arena_floats >= prod(plan.output_shape)


def test_other_types_than_float32_are_refused(model):
    import onnx

    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Abs", ["x"], ["y"])],
        "test",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT32, [4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.INT32, [4])],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    integers = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)

    with pytest.raises(LoweringError, match="float32"):
        c_network(fuse(import_onnx(integers.SerializeToString())))
