import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from hwnas.errors import LoweringError
from hwnas.graph import IR_VERSION, OPSET_VERSION, GraphBuilder, shape_of
from hwnas.lowering import check_onnx, to_onnx


def inferred_shapes(graph):
    """Shapes by ONNX's own inference, from inputs and weights alone."""
    proto = to_onnx(graph)
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    values = (*inferred.graph.value_info, *inferred.graph.output)
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}


@settings(deadline=None, max_examples=60)
@given(
    side=st.integers(1, 40),
    channels=st.sampled_from([1, 4, 6]),
    kernel=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.integers(1, 3),
    width=st.sampled_from([4, 8]),
    dilation=st.integers(1, 3),
    bias=st.booleans(),
    data=st.data(),
)
def test_shapes_agree_with_onnx(side, channels, kernel, stride, width, dilation, bias, data):
    g = GraphBuilder("net")
    x = g.input("input", (1, channels, side, side))
    y = g.conv(x, width, kernel, name="conv", stride=stride, bias=bias)
    y = g.conv(y, width, 3, name="depthwise", group=width, dilation=dilation)
    y = g.concat([g.max_pool(y, 3, stride=stride), g.average_pool(y, 3, stride=stride)])
    y = g.crop(y) if min(shape_of(y)[2:]) > 1 else y
    y = g.conv_transpose(y, width, data.draw(st.integers(1, 3)), name="enlarge")
    y = g.max_pool(y, 2, stride=2, pad=0) if min(shape_of(y)[2:]) > 1 else y
    for _ in range(data.draw(st.integers(0, 4))):
        kind = data.draw(st.sampled_from(["relu", "relu6", "hard_swish", "hard_sigmoid"]))
        y = getattr(g, kind)(y)
    y = g.batch_norm(y, name="norm")
    y = g.mul(y, g.global_average_pool(y))
    g.output(g.gemm(g.flatten(g.add(y, y)), 5, name="classifier"), "output")
    graph = g.build()

    shapes = inferred_shapes(graph)

    assert shapes == {v.name: shape_of(v) for node in graph.nodes for v in node.outputs}


def test_a_graph_declares_its_versions_and_passes_the_checker():
    g = GraphBuilder("net")
    g.output(g.relu(g.input("input", (1, 3))), "output")

    proto = to_onnx(g.build())

    check_onnx(proto)
    assert OPSET_VERSION >= 17
    assert proto.ir_version == IR_VERSION
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET_VERSION)]


def test_scopes_nest_and_prefix_weights_and_operators():
    g = GraphBuilder("net")
    x = g.input("input", (1, 3, 4, 4))
    with g.scope("stage"), g.scope("block"):
        y = g.conv(x, 3, 1, name="conv")
    with g.scope("stage"):
        y = g.relu(g.relu(y))
    g.output(y, "output")
    graph = g.build()

    assert list(graph.weights) == ["stage/block/conv/weight"]
    assert [n.name for n in graph.nodes] == ["stage/block/conv", "stage/relu", "stage/relu.1"]


def test_a_name_asked_for_twice_is_one_weight():
    g = GraphBuilder("net")
    x = g.input("input", (1, 3, 4, 4))
    g.output(g.conv(g.conv(x, 3, 1, name="conv"), 3, 1, name="conv"), "output")

    assert len(g.build().weights) == 1
    with pytest.raises(LoweringError, match=r"'conv/weight' has shape \(3, 3, 1, 1\)"):
        g.conv(x, 3, 5, name="conv")


def test_constants_are_shared_and_are_no_weights():
    g = GraphBuilder("net")
    g.output(g.relu6(g.relu6(g.input("input", (1, 3)))), "output")
    graph = g.build()

    assert graph.weights == {}
    assert sorted(graph.model.graph.initializers) == ["constant/0", "constant/6"]


def test_an_input_or_an_output_given_out_again_passes_an_identity():
    g = GraphBuilder("net")
    x = g.input("input", (1, 3))
    y = g.relu(x)
    for value, name in ((x, "first"), (y, "second"), (y, "third")):
        g.output(value, name)
    graph = g.build()

    check_onnx(to_onnx(graph))
    assert [v.name for v in graph.outputs] == ["first", "second", "third"]
    assert [n.op_type for n in graph.nodes] == ["Relu", "Identity", "Identity"]


def test_a_graph_without_an_output_is_refused():
    with pytest.raises(LoweringError, match="graph 'net' has no output"):
        GraphBuilder("net").build()


@pytest.mark.parametrize(("channels", "group"), [(6, 4), (4, 3)])
def test_channels_that_do_not_divide_into_groups_are_refused(channels, group):
    g = GraphBuilder("net")
    with pytest.raises(LoweringError, match="divide by group"):
        g.conv(
            g.input("input", (1, channels, 4, 4)),
            12 if group == 4 else 4,
            1,
            name="c",
            group=group,
        )


def test_adding_different_shapes_is_refused():
    g = GraphBuilder("net")
    x, y = g.input("x", (1, 3)), g.input("y", (1, 4))
    with pytest.raises(LoweringError, match=r"\(1, 3\) and \(1, 4\) differ"):
        g.add(x, y)


def test_a_value_without_a_static_shape_is_refused():
    import onnx_ir as ir

    for shape in (None, ir.Shape(["batch", 3])):
        with pytest.raises(LoweringError, match="no known shape"):
            shape_of(ir.Value(name="x", shape=shape))


def test_hard_swish_is_its_definition():
    import onnxruntime as ort

    g = GraphBuilder("net")
    x = g.input("input", (1, 9))
    g.output(g.hard_swish(x), "swish")
    g.output(g.hard_sigmoid(x), "sigmoid")
    session = ort.InferenceSession(to_onnx(g.build()).SerializeToString())
    values = np.linspace(-4, 4, 9, dtype=np.float32)[None]

    swish, sigmoid = session.run(None, {"input": values})

    gate = np.clip(values / 6 + 0.5, 0, 1)
    np.testing.assert_allclose(sigmoid, gate, atol=1e-6)
    np.testing.assert_allclose(swish, values * gate, atol=1e-6)


def test_pooling_cropping_and_joining_are_their_definitions():
    import onnxruntime as ort
    import torch

    from hwnas.lowering.torch_module import TorchPlan

    g = GraphBuilder("net")
    x = g.input("input", (1, 2, 5, 5))
    parts = [g.max_pool(x, 3, stride=2), g.average_pool(x, 3, stride=2)]
    g.output(g.concat(parts), "pooled")
    g.output(g.crop(x, 2), "cropped")
    graph = g.build()
    image = np.random.default_rng(0).standard_normal((1, 2, 5, 5)).astype(np.float32) - 3
    windows = [slice(max(0, 2 * i - 1), 2 * i + 2) for i in range(3)]
    wanted = [
        [[[fold(channel[r, c]) for c in windows] for r in windows] for channel in image[0]]
        for fold in (np.max, np.mean)
    ]

    session = ort.InferenceSession(to_onnx(graph).SerializeToString())
    by_onnx = session.run(None, {"input": image})
    by_torch = [t.numpy() for t in TorchPlan(graph)([torch.from_numpy(image)], {})]

    for pooled, cropped in (by_onnx, by_torch):
        np.testing.assert_allclose(pooled[0], np.concatenate(wanted), atol=1e-6)
        np.testing.assert_array_equal(cropped, image[:, :, 2:, 2:])


def test_a_map_is_enlarged_pixel_by_pixel():
    g = GraphBuilder("net")
    x = g.input("x", (1, 3, 4, 5))
    g.output(g.conv_transpose(x, 2, 3, name="enlarge"), "y")
    graph, rng = g.build(), np.random.default_rng(0)
    image, weight, bias = (
        rng.standard_normal(shape, dtype=np.float32)
        for shape in ((1, 3, 4, 5), (3, 2, 3, 3), (2,))
    )

    model = to_onnx(graph, {"enlarge/weight": weight, "enlarge/bias": bias})
    found = ReferenceEvaluator(model).run(None, {"x": image})[0]

    squares = np.einsum("cij,ckuv->kiujv", image[0], weight).reshape(2, 12, 15)
    np.testing.assert_allclose(found[0], squares + bias[:, None, None], atol=1e-5)
    assert shape_of(graph.outputs[0]) == (1, 2, 12, 15)


def test_a_dilated_convolution_reads_every_second_pixel():
    import onnxruntime as ort

    g = GraphBuilder("net")
    x = g.input("input", (1, 1, 6, 6))
    g.output(g.conv(x, 1, 3, name="conv", dilation=2), "output")
    image = np.zeros((1, 1, 6, 6), np.float32)
    image[0, 0, 2, 3] = 1.0
    weights = {"conv/weight": np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)}

    session = ort.InferenceSession(to_onnx(g.build(), weights).SerializeToString())
    (result,) = session.run(None, {"input": image})

    wanted = np.zeros((6, 6))
    wanted[0:5:2, 1:6:2] = np.arange(9, 0, -1).reshape(3, 3)
    np.testing.assert_array_equal(result[0, 0], wanted)


def test_joining_what_does_not_fit_and_cropping_all_are_refused():
    g = GraphBuilder("net")
    x, y = g.input("x", (1, 3, 4, 4)), g.input("y", (1, 3, 5, 4))

    with pytest.raises(LoweringError, match="do not agree"):
        g.concat([x, y])
    with pytest.raises(LoweringError, match="leaves nothing"):
        g.crop(x, 4)
