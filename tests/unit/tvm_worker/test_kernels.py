"""Kernels of fused modules: equal work has equal keys, wherever it stands."""

import numpy as np
import onnx
import pytest

from hwnas.graph import count_graph
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.spaces import get_space
from hwnas.tvm_worker import TvmWorker, find_tvm
from hwnas.tvm_worker.messages import Lower, Lowered

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

from hwnas.tvm_worker.kernels import calls_of, kernels_of, module_of
from hwnas.tvm_worker.relax_module import fuse, import_onnx

FLOAT_BYTES = 4


def model_bytes(graph, rng):
    return to_onnx(*fold_batch_norm(graph, random_weights(graph, rng))).SerializeToString()


@pytest.fixture(scope="module")
def space():
    return get_space("mbconv-digits@16")


@pytest.fixture(scope="module")
def network(space):
    """A network with all its blocks present, and its choice in each."""
    return space.largest()


def lowered(graph, seed=0, *, piece=False):
    module = import_onnx(model_bytes(graph, np.random.default_rng(seed)))
    module = fuse(module, piece=piece)
    kernels = kernels_of(module)
    return [kernels[name] for name in calls_of(module)]


def test_keys_are_equal_in_two_processes(space, network):
    graph = space.network(network)
    here = [kernel.key for kernel in lowered(graph)]

    with TvmWorker() as worker:
        models = {"network": model_bytes(graph, np.random.default_rng(0))}
        there = worker.request(Lower(models), Lowered)

    assert list(there.calls["network"]) == here
    assert all(len(key) == 32 for key in here)
    assert there.kernels.keys() == set(here)


def test_keys_do_not_depend_on_weights(space, network):
    graph = space.network(network)

    assert [k.key for k in lowered(graph, 0)] == [k.key for k in lowered(graph, 1)]


def test_a_block_alone_has_the_kernels_that_it_has_in_the_network(space, network):
    whole = [kernel.key for kernel in lowered(space.network(network))]
    inner = [
        block
        for block in range(len(space.blocks))
        if space.blocks[block].name.startswith(("stage", "block"))
    ]
    indices = np.array(network.indices)
    checked = 0
    for block in inner:
        choice = tuple(int(indices[column]) for column in space.columns_of(block))
        fragment = space.fragment(block, choice)
        if fragment.is_empty:
            continue
        alone = [kernel.key for kernel in lowered(fragment.graph, piece=True)]
        positions = range(len(whole) - len(alone) + 1)
        assert any(whole[i : i + len(alone)] == alone for i in positions), space.blocks[block].name
        checked += 1

    assert checked >= 3


def test_equal_blocks_are_one_kernel_each_called_several_times(space, network):
    module = fuse(import_onnx(model_bytes(space.network(network), np.random.default_rng(0))))

    kernels = kernels_of(module)

    assert len(calls_of(module)) > len(kernels)
    assert set(calls_of(module)) == set(kernels)
    assert len({kernel.key for kernel in kernels.values()}) == len(kernels)


def test_a_reshape_is_no_kernel():
    node = onnx.helper.make_node
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("Relu", ["x"], ["r"]),
            node("Reshape", ["r", "shape"], ["flat"]),
            node("MatMul", ["flat", "w"], ["y"]),
        ],
        "test",
        [value("x", onnx.TensorProto.FLOAT, [1, 4, 1, 1])],
        [value("y", onnx.TensorProto.FLOAT, [1, 3])],
        [
            onnx.numpy_helper.from_array(np.array([1, 4]), "shape"),
            onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w"),
        ],
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)

    module = fuse(import_onnx(model.SerializeToString()))

    assert "relax.call_tir" in {
        binding.value.op.name
        for block in module["main"].body.blocks
        for binding in block.bindings
        if hasattr(binding.value, "op")
    }
    assert not [name for name in calls_of(module) if name.startswith("reshape")]
    operators = [kernels_of(module)[name].signature.split()[0] for name in calls_of(module)]
    assert [name.rstrip("0123456789") for name in operators][-1] == "matmul"
    assert any("relu" in name for name in operators[:-1])


def test_work_and_bytes_are_those_of_the_graph(space, network):
    graph = space.network(network)

    kernels = lowered(graph)

    counted = count_graph(graph)
    assert sum(k.macs for k in kernels) == pytest.approx(counted.macs, rel=0.1)
    folded, weights = fold_batch_norm(graph, random_weights(graph, np.random.default_rng(0)))
    held = sum(weights[name].nbytes for name in folded.weights if name in weights)
    assert sum(k.weight_bytes for k in kernels) == pytest.approx(held, rel=0.02)
    first = kernels[0]
    assert first.activation_bytes == FLOAT_BYTES * (
        16 * 16 + int(np.prod([int(side) for side in first.results.shape]))
    )


def test_a_module_of_kernels_calls_each_one_once_with_its_key(space, network):
    found = {kernel.key: kernel for kernel in lowered(space.network(network))}
    named = {f"kernel_{key}": kernel for key, kernel in found.items()}

    module = module_of(named)

    again = kernels_of(module)
    assert {name: kernel.key for name, kernel in again.items()} == {
        name: kernel.key for name, kernel in named.items()
    }
    assert sorted(calls_of(module)) == sorted(named)
    assert {k.weight_bytes for k in again.values()} == {k.weight_bytes for k in named.values()}
