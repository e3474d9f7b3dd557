import numpy as np
import onnx
import onnxruntime as ort
import pytest

from hwnas.errors import LoweringError
from hwnas.graph import GraphBuilder
from hwnas.lowering import check_onnx, onnx_model, random_weights, to_onnx
from hwnas.spaces import available_spaces, get_space


@pytest.fixture
def graph():
    g = GraphBuilder("small")
    x = g.input("input", (1, 2, 4, 4))
    y = g.batch_norm(g.conv(x, 3, 3, name="conv", bias=True), name="norm")
    g.output(g.gemm(g.flatten(g.relu6(y)), 5, name="classifier"), "output")
    return g.build()


@pytest.fixture
def weights(graph):
    return random_weights(graph, np.random.default_rng(0))


def test_without_values_the_weights_stay_inputs(graph):
    proto = to_onnx(graph)

    check_onnx(proto)
    assert [v.name for v in proto.graph.input] == ["input", *graph.weights]
    assert {t.name for t in proto.graph.initializer} == {"constant/0", "constant/6"}


def test_with_values_the_data_are_the_only_inputs(graph, weights):
    proto = to_onnx(graph, weights)

    check_onnx(proto)
    assert [v.name for v in proto.graph.input] == ["input"]
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert all(np.array_equal(stored[name], value) for name, value in weights.items())


def test_weights_as_inputs_and_as_values_give_the_same_results(graph, weights):
    x = np.random.default_rng(1).standard_normal((1, 2, 4, 4), dtype=np.float32)

    (bound,) = ort.InferenceSession(to_onnx(graph, weights).SerializeToString()).run(
        None, {"input": x}
    )
    (free,) = ort.InferenceSession(to_onnx(graph).SerializeToString()).run(
        None, {"input": x, **weights}
    )

    np.testing.assert_allclose(bound, free, rtol=1e-4, atol=1e-5)


def test_the_graph_is_not_changed(graph, weights):
    before = to_onnx(graph).SerializeToString()

    to_onnx(graph, weights)

    assert to_onnx(graph).SerializeToString() == before


@pytest.mark.parametrize("name", ["mbconv-digits", "proxyless-mobile@64"])
def test_networks_run_and_give_finite_results(name):
    space = get_space(name)
    graph = space.network(space.architecture(space.sample(1, np.random.default_rng(0))[0]))
    proto = to_onnx(graph, random_weights(graph, np.random.default_rng(0)))
    session = ort.InferenceSession(proto.SerializeToString())
    x = np.random.default_rng(1).standard_normal(session.get_inputs()[0].shape, dtype=np.float32)

    (result,) = session.run(None, {"input": x})

    assert result.shape == tuple(session.get_outputs()[0].shape)
    assert np.isfinite(result).all()
    assert 1e-3 < np.abs(result).max() < 1e4


def test_a_missing_weight_is_named(graph, weights):
    del weights["norm/mean"]

    with pytest.raises(LoweringError, match="weight 'norm/mean' of 'small' has no value"):
        to_onnx(graph, weights)


def test_a_weight_of_another_shape_is_named(graph, weights):
    weights["conv/weight"] = weights["conv/weight"][:2]

    with pytest.raises(LoweringError, match=r"'conv/weight' is \(2, 2, 3, 3\), .* wants \(3, 2"):
        to_onnx(graph, weights)


def test_values_are_stored_as_little_endian_float32_whatever_they_were(graph, weights):
    odd = {k: np.asfortranarray(v.astype(">f8")) for k, v in weights.items()}

    assert to_onnx(graph, odd).SerializeToString() == to_onnx(graph, weights).SerializeToString()


def test_values_that_nobody_asked_for_are_left_out(graph, weights):
    more = {**weights, "other": np.zeros(3, np.float32)}

    assert to_onnx(graph, more).SerializeToString() == to_onnx(graph, weights).SerializeToString()


def test_a_model_over_the_limit_of_onnx_files_is_refused(graph, weights, monkeypatch):
    monkeypatch.setattr(onnx_model, "_LIMIT_BYTES", 100)

    with pytest.raises(LoweringError, match="ONNX files hold 2 GiB"):
        to_onnx(graph, weights)


def test_a_model_that_is_not_onnx_is_refused_with_the_checkers_reason(graph):
    proto = to_onnx(graph)
    proto.graph.node[0].op_type = "Convolve"
    with pytest.raises(LoweringError, match=r"'small' is not valid ONNX: .*Convolve"):
        check_onnx(proto)

    proto = to_onnx(graph)
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6
    with pytest.raises(LoweringError, match="not valid ONNX"):
        check_onnx(proto)


@pytest.mark.parametrize("name", available_spaces())
def test_random_weights_are_normal_numbers_of_the_declared_shapes(name):
    space = get_space(name)
    graph = space.network(space.smallest())

    weights = random_weights(graph, np.random.default_rng(0))

    assert set(weights) == set(graph.weights)
    for key, value in weights.items():
        assert value.dtype == np.float32
        assert value.shape == tuple(graph.weights[key].shape.numpy())
        smallest = np.finfo(np.float32).tiny
        assert (np.abs(value[value != 0]) >= smallest).all()
        if key.endswith("/variance"):
            assert (value > 0).all()


def test_the_seed_alone_decides_the_random_weights(graph, weights):
    again = random_weights(graph, np.random.default_rng(0))
    other = random_weights(graph, np.random.default_rng(1))

    assert all(np.array_equal(again[k], weights[k]) for k in weights)
    assert not any(np.array_equal(other[k], weights[k]) for k in weights)
