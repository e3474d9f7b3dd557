"""Channels last: the same results, maps turned at the borders of a network and nowhere else."""

import numpy as np
import onnxruntime
import pytest

from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.tvm_worker import find_tvm

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

import tvm
from tvm import relax

from hwnas.tvm_worker.building import compile_module
from hwnas.tvm_worker.kernels import calls_of
from hwnas.tvm_worker.relax_module import fuse, import_onnx, plain_target

TOLERANCE = 1e-4
SIDE = 10


def model_of(emit):
    """A network with one map as input, as ONNX."""
    builder = GraphBuilder("network")
    builder.output(emit(builder, builder.input("x", (1, 4, SIDE, SIDE))), "y")
    graph = builder.build()
    weights = random_weights(graph, np.random.default_rng(0))
    return to_onnx(graph, weights).SerializeToString()


def gated(b, x):
    """Attention over channels, and a classifier."""
    y = b.hard_swish(b.conv(x, 8, 3, name="a", stride=2, bias=True))
    gate = b.relu(b.conv(b.global_average_pool(y), 4, 1, name="b", bias=True))
    y = b.mul(y, b.hard_sigmoid(b.conv(gate, 8, 1, name="c", bias=True)))
    return b.gemm(b.flatten(b.global_average_pool(y)), 5, name="d")


def branched(b, x):
    """Pools, separable and dilated convolutions, joined."""
    y = b.relu6(b.conv(x, 8, 1, name="a"))
    parts = [b.max_pool(y, 3), b.average_pool(y, 3), b.conv(y, 8, 3, name="b", group=8)]
    parts.append(b.conv(y, 8, 3, name="c", group=2, dilation=2))
    return b.relu(b.concat(parts))


NETWORKS = {"gated": gated, "branched": branched}


@pytest.mark.parametrize("name", NETWORKS)
def test_results_agree_with_onnx_runtime(name):
    model = model_of(NETWORKS[name])
    x = np.random.default_rng(1).standard_normal((1, 4, SIDE, SIDE)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})

    executable = compile_module(fuse(import_onnx(model)), plain_target())

    found = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    assert expected.std() > 0.1
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize(("name", "turns"), [("gated", 1), ("branched", 2)])
def test_maps_are_turned_at_the_borders_only(name, turns):
    calls = calls_of(fuse(import_onnx(model_of(NETWORKS[name]))))

    assert sum("transpose" in call for call in calls) == turns


def test_pieces_take_and_give_maps_in_channels_last():
    module = fuse(import_onnx(model_of(branched)), piece=True)

    assert not any("transpose" in call for call in calls_of(module))
    (x,) = module["main"].params
    assert [int(side) for side in x.ty.shape] == [1, SIDE, SIDE, 4]
    assert [int(side) for side in module["main"].ret_ty.shape] == [1, SIDE, SIDE, 32]
