import os
import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from hwnas.backends import MeasuringBackend, get_backend
from hwnas.backends.onnxruntime_blocks import cut_blocks
from hwnas.errors import LoweringError
from hwnas.graph import GraphBuilder
from hwnas.graph.split import block_order, is_branching
from hwnas.lowering import random_weights, to_onnx
from hwnas.spaces import get_space
from hwnas.targets import get_target
from hwnas.testing.space_conformance import fragments_of

TARGET = get_target("cpu")
SPACES = ["mbconv-digits", "proxyless-mobile@64"]


def members(space):
    yield space.smallest()
    yield space.largest()
    for row in space.sample(3, np.random.default_rng(0)):
        yield space.architecture(row)


def network(space, architecture):
    graph = space.network(architecture)
    return graph, random_weights(graph, np.random.default_rng(0))


def blocks_with_operators(space, architecture):
    fragments = fragments_of(space, architecture)
    return [b.name for b, f in zip(space.blocks, fragments, strict=True) if not f.is_empty]


def small_graph(prefixes=("a", "b"), *, shape=(1, 3, 8, 8)):
    g = GraphBuilder("small")
    x = g.input("input", shape)
    for prefix in prefixes:
        with g.scope(prefix):
            x = g.relu(g.conv(x, 8, 3, name="conv", bias=True))
    g.output(x, "output")
    return g.build()


def test_it_measures_and_is_available_with_the_threads_there_are():
    backend = get_backend(TARGET)

    assert isinstance(backend, MeasuringBackend)
    assert backend.is_available(TARGET).works
    assert backend.runtime(TARGET) == f"onnxruntime {ort.__version__}"


def test_more_threads_than_cores_are_refused_with_what_to_do():
    cores = len(os.sched_getaffinity(0))

    found = get_backend(TARGET).is_available(TARGET.with_threads(cores + 1))

    assert not found.works
    assert found.reason == f"{cores + 1} threads asked for, {cores} cores here"
    assert "at most" in found.remedy


@pytest.mark.parametrize("name", SPACES)
def test_a_chain_of_blocks_gives_what_the_whole_network_gives(name):
    space, backend = get_space(name), get_backend(TARGET)
    for architecture in members(space):
        graph, weights = network(space, architecture)
        whole = backend.compile(graph, weights, TARGET)
        whole.run()
        pieces = backend.compile_blocks(graph, weights, [b.name for b in space.blocks], TARGET)

        previous = None
        for block in space.blocks:
            if block.name in pieces:
                pieces[block.name].follow(previous)
                pieces[block.name].run()
                previous = pieces[block.name]

        (wanted,) = whole.results().values()
        (found,) = previous.results().values()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", SPACES)
def test_every_block_that_does_something_is_cut_out(name):
    space, backend = get_space(name), get_backend(TARGET)
    for architecture in members(space):
        graph, weights = network(space, architecture)

        pieces = backend.compile_blocks(graph, weights, [b.name for b in space.blocks], TARGET)

        assert sorted(pieces) == sorted(blocks_with_operators(space, architecture))


@pytest.mark.parametrize("seed", range(2))
def test_every_block_of_the_ofa_space_is_cut_out(seed):
    space, backend = get_space("ofa-mbv3"), get_backend(TARGET)
    architecture = space.architecture(space.sample(1, np.random.default_rng(seed))[0])
    graph, weights = network(space, architecture)

    _, pieces = cut_blocks(
        backend._optimised(graph, weights, TARGET), [b.name for b in space.blocks]
    )

    assert sorted(pieces) == sorted(blocks_with_operators(space, architecture))


def test_the_pieces_hold_every_operator_of_the_optimised_network_once():
    space, backend = get_space("mbconv-digits"), get_backend(TARGET)
    graph, weights = network(space, space.largest())
    optimised = backend._optimised(graph, weights, TARGET)

    whole, pieces = cut_blocks(optimised, [b.name for b in space.blocks])

    cut = sorted(node.output[0] for piece in pieces.values() for node in piece.graph.node)
    assert cut == sorted(node.output[0] for node in optimised.graph.node)
    assert len(whole.graph.output) == len(pieces)
    # What runs inside a network runs in the pieces: norms folded, activations fused.
    kinds = {node.op_type for node in optimised.graph.node}
    assert not kinds & {"BatchNormalization", "Relu"}


def test_a_block_alone_reads_its_own_example_until_it_follows_another():
    backend, graph = get_backend(TARGET), small_graph()
    weights = random_weights(graph, np.random.default_rng(0))
    blocks = backend.compile_blocks(graph, weights, ["a", "b"], TARGET)

    def result(name):
        blocks[name].run()
        (value,) = blocks[name].results().values()
        return value.copy()

    alone = result("b")
    result("a")
    blocks["b"].follow(blocks["a"])
    after_a = result("b")
    blocks["b"].follow(None)

    assert np.array_equal(result("b"), alone)
    np.testing.assert_allclose(after_a, alone, atol=1e-5)  # the example is what a hands over


def test_a_block_does_not_follow_one_of_another_shape():
    backend = get_backend(TARGET)
    graph, other = small_graph(), small_graph(shape=(1, 3, 16, 16))
    rng = np.random.default_rng(0)
    blocks = backend.compile_blocks(graph, random_weights(graph, rng), ["a", "b"], TARGET)
    wide = backend.compile_blocks(other, random_weights(other, rng), ["a"], TARGET)
    blocks["b"].run()
    (before,) = (v.copy() for v in blocks["b"].results().values())

    blocks["b"].follow(wide["a"])
    blocks["b"].run()

    (after,) = blocks["b"].results().values()
    assert np.array_equal(after, before)


def joined_graph():
    """A fork and a join; all blocks but the stem begin with an activation."""
    g = GraphBuilder("fork")
    x = g.input("input", (1, 16, 8, 8))
    with g.scope("stem"):
        x = g.conv(x, 16, 3, name="conv", bias=True)
    with g.scope("left"):
        left = g.conv(g.relu(x), 16, 3, name="conv", bias=True)
    with g.scope("right"):
        right = g.conv(g.relu(x), 16, 5, name="conv", bias=True)
    with g.scope("join"):
        y = g.mul(left, g.relu(right))
    g.output(y, "output")
    return g.build()


def compiled_with_its_pieces(graph, image_seed):
    """A whole network and its pieces in order, all on a new image after they were compiled."""
    backend = get_backend(TARGET)
    weights = random_weights(graph, np.random.default_rng(0))
    whole = backend.compile(graph, weights, TARGET)
    names = block_order(graph)
    pieces = backend.compile_blocks(graph, weights, names, TARGET)
    chain = [pieces[name] for name in names if name in pieces]
    value = whole._inputs["input"]
    image = np.random.default_rng(image_seed).standard_normal(value.shape(), dtype=np.float32)
    for first in (whole, *chain):
        if "input" in first._inputs:
            first._inputs["input"].update_inplace(image)
    whole.run()
    return whole, chain


def run_chain(chain):
    previous = None
    for member in chain:
        member.follow(previous)
        member.run()
        previous = member
    (found,) = previous.results().values()
    return found


def test_blocks_of_several_inputs_are_cut_out_and_read_what_the_others_write():
    whole, chain = compiled_with_its_pieces(joined_graph(), image_seed=5)

    found = run_chain(chain)

    (wanted,) = whole.results().values()
    assert len(chain) == 4
    assert len(chain[-1]._inputs) == 2
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("name", ["cells-digits", "cells-digits-free"])
def test_the_blocks_of_cells_give_what_the_whole_network_gives(name):
    space = get_space(name)
    for row in space.sample(3, np.random.default_rng(0)):
        whole, chain = compiled_with_its_pieces(space.network(space.architecture(row)), 5)

        found = run_chain(chain)

        (wanted,) = whole.results().values()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def test_an_activation_that_opens_blocks_belongs_to_the_block_that_it_reads():
    backend, graph = get_backend(TARGET), joined_graph()
    weights = random_weights(graph, np.random.default_rng(0))
    optimised = backend._optimised(graph, weights, TARGET)

    _, pieces = cut_blocks(optimised, ["stem", "left", "right", "join"], block_order(graph))

    kinds = {name: [node.op_type for node in piece.graph.node] for name, piece in pieces.items()}
    assert "Conv" in kinds["stem"]  # with the activation of its readers fused into it
    assert not any("Relu" in kinds[name] for name in ("left", "right"))


def test_what_several_blocks_share_belongs_to_the_first_of_them():
    g = GraphBuilder("shared")
    x = g.input("input", (1, 16, 8, 8))
    with g.scope("stem"):
        x = g.conv(x, 16, 3, name="conv", bias=True)
    with g.scope("left"):
        left = g.conv(g.average_pool(x, 3), 16, 3, name="conv", bias=True)
    with g.scope("right"):
        right = g.conv(g.average_pool(x, 3), 16, 5, name="conv", bias=True)
    with g.scope("join"):
        g.output(g.mul(left, right), "output")
    graph = g.build()
    weights = random_weights(graph, np.random.default_rng(0))
    optimised = get_backend(TARGET)._optimised(graph, weights, TARGET)
    assert sum(node.op_type == "AveragePool" for node in optimised.graph.node) == 1

    for order, owner in (
        (["stem", "left", "right", "join"], "left"),
        (["stem", "right", "left", "join"], "right"),
    ):
        _, pieces = cut_blocks(optimised, order, order)

        pooling = [
            n for n, p in pieces.items() if "AveragePool" in {x.op_type for x in p.graph.node}
        ]
        assert pooling == [owner]


def test_a_block_in_a_chain_of_another_network_reads_different_buffers_and_then_its_own_again():
    _, chain = compiled_with_its_pieces(joined_graph(), image_seed=5)
    _, other = compiled_with_its_pieces(joined_graph(), image_seed=6)
    wanted = run_chain(chain).copy()
    other[-1].run()
    (alone,) = (v.copy() for v in other[-1].results().values())

    found = run_chain([*chain[:-1], other[-1]]).copy()
    other[-1].follow(None)
    other[-1].run()

    # A product: only from both of the chain's two factors does it come out the same.
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert not np.allclose(alone, wanted)
    (restored,) = other[-1].results().values()
    assert np.array_equal(restored, alone)


def test_a_network_whose_values_have_one_reader_each_does_not_branch():
    assert is_branching(joined_graph())
    assert not is_branching(small_graph())
    for name in SPACES:
        space = get_space(name)
        assert not is_branching(space.network(space.largest()))


class Sleeper:
    """Takes wall time and no time of its thread."""

    def run(self):
        time.sleep(0.002)


def test_one_thread_is_clocked_by_its_own_time_and_more_by_the_wall():
    backend = get_backend(TARGET)

    alone = backend.sample([Sleeper()], TARGET, warmup=0, passes=3)
    both = backend.sample([Sleeper()], TARGET.with_threads(2), warmup=0, passes=3)

    assert alone.shape == both.shape == (1, 2)
    assert alone[0, 0] < 0.002 <= alone[0, 1]
    assert both[0, 0] >= 0.002


def test_a_model_file_is_compiled_as_it_is(tmp_path):
    graph = small_graph()
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(graph, random_weights(graph, np.random.default_rng(0))), path)

    executable = get_backend(TARGET).compile_model(path, TARGET)
    executable.run()

    assert executable.results()["output"].shape == (1, 8, 8, 8)
    assert np.abs(executable.results()["output"]).max() > 0


@pytest.mark.parametrize(
    ("kind", "sides", "message"),
    [
        (onnx.TensorProto.FLOAT, [1, "width"], "fix every size"),
        (onnx.TensorProto.FLOAT, [0, 3], "fix every size"),
        (onnx.TensorProto.DOUBLE, [1, 3], "only float32 is measured"),
    ],
)
def test_a_model_that_cannot_be_timed_is_refused(kind, sides, message):
    values = [onnx.helper.make_tensor_value_info(name, kind, sides) for name in ("x", "y")]
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )

    with pytest.raises(LoweringError, match=message):
        get_backend(TARGET).compile_model(model, TARGET)


def test_a_free_batch_size_is_set_to_one():
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3])
        for name in ("x", "y")
    ]
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )

    executable = get_backend(TARGET).compile_model(model, TARGET)
    executable.run()

    assert executable.results()["y"].shape == (1, 3)


def test_what_the_runtime_refuses_is_a_lowering_error(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")

    for model in (broken, tmp_path / "missing.onnx", onnx.ModelProto()):
        with pytest.raises(LoweringError, match="ONNX Runtime refuses the model"):
            get_backend(TARGET).compile_model(model, TARGET)
