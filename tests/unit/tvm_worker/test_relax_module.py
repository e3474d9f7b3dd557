"""What TVM makes of hwnas's ONNX, before any code is generated."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from hwnas.errors import LoweringError
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.spaces import get_space
from hwnas.tvm_worker import find_tvm

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

import tvm
from tvm import relax

from hwnas.tvm_worker import relax_module
from hwnas.tvm_worker.building import compile_module
from hwnas.tvm_worker.kernels import calls_of, kernels_of
from hwnas.tvm_worker.relax_module import fuse, import_onnx, plain_target

RNG_SEED = 0


def model_of(nodes, inputs, outputs, constants=()):
    """An ONNX model of float32 values, as bytes."""

    def values(shapes):
        return [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]

    initialisers = [onnx.numpy_helper.from_array(array, name) for name, array in constants]
    graph = onnx.helper.make_graph(nodes, "test", values(inputs), values(outputs), initialisers)
    opset = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def run_tvm(module, x):
    executable = compile_module(module, plain_target())
    machine = relax.VirtualMachine(executable, tvm.cpu())
    return machine["main"](tvm.runtime.tensor(x)).numpy()


def run_onnx(model, x):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


@pytest.fixture(scope="module")
def reshaping_model():
    """Constants that are reshaped and transposed on their way into an operator."""
    rng = np.random.default_rng(RNG_SEED)
    node = onnx.helper.make_node
    return model_of(
        [
            node("Transpose", ["w"], ["turned"], perm=[2, 0, 1]),
            node("Reshape", ["turned", "shape"], ["matrix"]),
            node("MatMul", ["x", "matrix"], ["product"]),
            node("Reshape", ["b", "row"], ["bias"]),
            node("Add", ["product", "bias"], ["y"]),
        ],
        {"x": [5, 8]},
        {"y": [5, 6]},
        [
            ("w", rng.standard_normal((2, 3, 8), dtype=np.float32)),
            ("shape", np.array([8, 6], np.int64)),
            ("b", rng.standard_normal(6, dtype=np.float32)),
            ("row", np.array([1, 6], np.int64)),
        ],
    )


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x00" * 100, b"\x08\x0a\x3a\xff"])
def test_bytes_that_are_no_model_are_refused(content):
    with pytest.raises(LoweringError):
        import_onnx(content)


def test_a_model_cut_in_the_middle_is_refused(reshaping_model):
    with pytest.raises(LoweringError, match="not an ONNX model"):
        import_onnx(reshaping_model[:-20])


def test_an_lstm_is_refused_by_name():
    rng = np.random.default_rng(RNG_SEED)
    constants = [
        ("w", rng.standard_normal((1, 16, 3), dtype=np.float32)),
        ("r", rng.standard_normal((1, 16, 4), dtype=np.float32)),
    ]
    lstm = onnx.helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)
    model = model_of([lstm], {"x": [5, 1, 3]}, {"y": [5, 1, 1, 4]}, constants)

    with pytest.raises(LoweringError, match=r"(?s)does not import 'test'.*LSTM.*use target cpu"):
        import_onnx(model)


def test_folded_constants_give_the_results_of_onnx_runtime(reshaping_model):
    x = np.random.default_rng(1).standard_normal((5, 8), dtype=np.float32)

    got = run_tvm(fuse(import_onnx(reshaping_model)), x)

    np.testing.assert_allclose(got, run_onnx(reshaping_model, x), rtol=1e-5, atol=1e-5)


def test_folding_constants_here_changes_neither_kernels_nor_results(reshaping_model, monkeypatch):
    x = np.random.default_rng(1).standard_normal((5, 8), dtype=np.float32)
    folded = fuse(import_onnx(reshaping_model))
    leave = tvm.transform.module_pass(lambda module, _: module, opt_level=0, name="leave")
    monkeypatch.setattr(relax_module, "FoldSmallConstants", lambda: leave)

    by_tvm = fuse(import_onnx(reshaping_model))

    assert [k.key for k in kernels_of(folded).values()] == [
        k.key for k in kernels_of(by_tvm).values()
    ]
    np.testing.assert_array_equal(run_tvm(folded, x), run_tvm(by_tvm, x))


def test_constants_given_as_attributes_are_taken():
    node = onnx.helper.make_node
    model = model_of(
        [
            node("Constant", [], ["two"], value_float=2.0),
            node("Constant", [], ["shape"], value_ints=[2, 3]),
            node("Mul", ["x", "two"], ["doubled"]),
            node("Reshape", ["doubled", "shape"], ["y"]),
        ],
        {"x": [6]},
        {"y": [2, 3]},
    )
    x = np.arange(6, dtype=np.float32)

    got = run_tvm(fuse(import_onnx(model)), x)

    np.testing.assert_array_equal(got, 2 * x.reshape(2, 3))


@pytest.mark.parametrize("name", ["mbconv-digits@16", "cells-digits", "resnet9@16", "unet@16"])
def test_a_fused_network_agrees_with_onnx_runtime(name):
    space, rng = get_space(name), np.random.default_rng(RNG_SEED)
    graph = space.network(space.architecture(space.sample(1, rng)[0]))
    model = to_onnx(*fold_batch_norm(graph, random_weights(graph, rng))).SerializeToString()
    x = rng.standard_normal(tuple(graph.inputs[0].shape.numpy()), dtype=np.float32)

    module = fuse(import_onnx(model))

    expected = run_onnx(model, x)
    assert expected.std() > 0.1
    difference = np.abs(run_tvm(module, x) - expected).max()
    assert difference <= 1e-4 * np.abs(expected).max()
    assert len(calls_of(module)) < len(onnx.load_model_from_string(model).graph.node)
