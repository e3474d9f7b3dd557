import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hwnas.errors import LoweringError
from hwnas.graph import Graph, GraphBuilder
from hwnas.lowering import check_onnx, random_weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.spaces import available_spaces, get_space

OWN_SPACES = [name for name in available_spaces() if name.startswith(("mbconv", "ofa", "proxy"))]


def kinds(graph):
    return [node.op_type for node in graph.nodes]


def run(graph, weights, seed=0):
    proto = to_onnx(graph, weights)
    check_onnx(proto)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(seed)
    feeds = {i.name: rng.standard_normal(i.shape, dtype=np.float32) for i in session.get_inputs()}
    return session.run(None, feeds)


def conv_and_norm(*, bias=False, read_twice=False, as_output=False):
    g = GraphBuilder("small")
    x = g.input("input", (1, 3, 8, 8))
    y = g.conv(x, 4, 3, name="block/conv", bias=bias)
    z = g.batch_norm(y, name="block/norm")
    if not as_output:
        z = g.relu(z)
    if read_twice:
        z = g.add(z, y)
    g.output(z, "output")
    return g.build()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", OWN_SPACES)
def test_a_folded_network_gives_the_same_outputs_and_has_no_batch_norm(name, seed):
    space = get_space("proxyless-mobile@64" if name == "proxyless-mobile" else name)
    rng = np.random.default_rng(seed)
    graph = space.network(space.architecture(space.sample(1, rng)[0]))
    weights = random_weights(graph, rng)

    folded, new = fold_batch_norm(graph, weights)

    assert "BatchNormalization" in kinds(graph)
    assert "BatchNormalization" not in kinds(folded)
    before, after = run(graph, weights)[0], run(folded, new)[0]
    # Random weights make outputs of several hundred; float32 has seven digits of that.
    assert np.abs(before - after).max() <= 1e-4 * max(1.0, np.abs(before).max())
    assert np.abs(before).max() > 1e-3


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("as_output", [False, True])
def test_names_stay_and_a_bias_is_added(bias, as_output):
    graph = conv_and_norm(bias=bias, as_output=as_output)
    weights = random_weights(graph, np.random.default_rng(0))

    folded, new = fold_batch_norm(graph, weights)

    assert sorted(new) == ["block/conv/bias", "block/conv/weight"]
    assert set(folded.weights) == set(new)
    assert [v.name for v in folded.outputs] == ["output"]
    assert [v.name for v in folded.inputs] == ["input"]
    assert all(array.dtype == np.float32 for array in new.values())
    np.testing.assert_allclose(run(folded, new)[0], run(graph, weights)[0], atol=1e-5)


def test_the_arguments_are_not_changed():
    graph = conv_and_norm()
    weights = random_weights(graph, np.random.default_rng(0))
    copies = {name: array.copy() for name, array in weights.items()}
    serialised = to_onnx(graph).SerializeToString()

    fold_batch_norm(graph, weights)

    assert to_onnx(graph).SerializeToString() == serialised
    assert weights.keys() == copies.keys()
    assert all(np.array_equal(weights[name], copies[name]) for name in weights)


def test_a_convolution_that_someone_else_reads_is_not_folded():
    graph = conv_and_norm(read_twice=True)
    weights = random_weights(graph, np.random.default_rng(0))

    folded, new = fold_batch_norm(graph, weights)

    assert kinds(folded) == kinds(graph)
    assert new.keys() == weights.keys()


def test_a_batch_norm_without_a_convolution_before_it_stays():
    g = GraphBuilder("small")
    g.output(g.batch_norm(g.relu(g.input("input", (1, 3, 4, 4))), name="norm"), "output")
    graph = g.build()
    weights = random_weights(graph, np.random.default_rng(0))

    folded, _ = fold_batch_norm(graph, weights)

    assert kinds(folded) == ["Relu", "BatchNormalization"]


def test_a_weight_that_two_convolutions_share_is_not_folded():
    g = GraphBuilder("small")
    x = g.input("input", (1, 3, 4, 4))
    for norm in ("first", "second"):
        x = g.batch_norm(g.conv(x, 3, 3, name="shared"), name=norm)
    g.output(x, "output")
    graph = g.build()
    weights = random_weights(graph, np.random.default_rng(0))

    folded, new = fold_batch_norm(graph, weights)

    assert kinds(folded).count("BatchNormalization") == 2
    np.testing.assert_array_equal(run(folded, new)[0], run(graph, weights)[0])


def test_a_model_read_from_a_file_with_weights_inside_folds_too():
    graph = conv_and_norm()
    weights = random_weights(graph, np.random.default_rng(0))
    bound = Graph(ir.from_proto(to_onnx(graph, weights)))

    folded, new = fold_batch_norm(bound, {})

    assert kinds(folded) == ["Conv", "Relu"]
    assert set(folded.weights) == {"block/conv/weight", "block/conv/bias"}
    np.testing.assert_allclose(run(folded, new)[0], run(graph, weights)[0], atol=1e-5)


def test_a_missing_weight_and_a_wrong_shape_are_named():
    graph = conv_and_norm()
    weights = random_weights(graph, np.random.default_rng(0))

    with pytest.raises(LoweringError, match="'block/norm/mean' of 'small' has no value"):
        fold_batch_norm(graph, {n: a for n, a in weights.items() if n != "block/norm/mean"})
    with pytest.raises(LoweringError, match="'block/norm/mean' is"):
        fold_batch_norm(graph, weights | {"block/norm/mean": np.zeros(5, np.float32)})


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_a_negative_variance_is_refused_by_name(value):
    graph = conv_and_norm()
    weights = random_weights(graph, np.random.default_rng(0))
    weights["block/norm/variance"][0] = value

    with pytest.raises(LoweringError, match=r"'block/norm'.*not finite"):
        fold_batch_norm(graph, weights)
