"""The torch plan computes what ONNX Runtime computes from the same graph and weights."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import LoweringError
from hwnas.graph import OPSET_VERSION, Graph, GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.torch_module import TorchModule, TorchPlan
from hwnas.spaces import get_space


def run_onnx(graph, weights, *inputs):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        to_onnx(graph, weights).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


def assert_torch_agrees_with_onnx_runtime(graph, rng):
    weights = random_weights(graph, rng)
    inputs = [rng.standard_normal(v.shape.numpy(), dtype=np.float32) for v in graph.inputs]
    expected = run_onnx(graph, weights, *inputs)

    module = TorchModule(graph, weights).eval()
    with torch.no_grad():
        got = module(*map(torch.from_numpy, inputs)).numpy()

    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(got / scale, expected / scale, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["mbconv-digits", "proxyless-mobile@64", "ofa-mbv3", "resnet9", "unet@32"]
)
def test_random_architectures_agree_with_onnx_runtime(name):
    space, rng = get_space(name), np.random.default_rng(0)

    for row in space.sample(2, rng):
        assert_torch_agrees_with_onnx_runtime(space.network(space.architecture(row)), rng)


@pytest.mark.parametrize("name", ["mbconv-digits", "resnet9@16", "unet@16"])
def test_every_option_of_every_block_agrees_with_onnx_runtime(name):
    space, rng = get_space(name), np.random.default_rng(1)
    keys = set()
    for block in range(len(space.blocks)):
        for choice in space.slots(block):
            fragment = space.fragment(block, choice)
            if fragment.is_empty or fragment.key in keys:
                continue
            keys.add(fragment.key)
            assert_torch_agrees_with_onnx_runtime(fragment.graph, rng)

    assert len(keys) > 30


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([3, 5, 7]), st.sampled_from([1, 2]), st.integers(2, 9), st.integers(1, 9))
def test_the_depthwise_gradient_is_that_of_torch(kernel, stride, side, channels):
    g = GraphBuilder("depthwise")
    x = g.input("x", (1, channels, side, side))
    y = g.conv(x, channels, kernel, stride=stride, group=channels, name="conv")
    g.output(y, "y")
    plan = TorchPlan(g.build())
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator, requires_grad=True)
    image = torch.randn(3, channels, side, side, generator=generator, requires_grad=True)

    (mine,) = plan((image,), {"conv/weight": weight}, training=True)
    theirs = torch.conv2d(image, weight, None, stride, kernel // 2, 1, channels)

    seed = torch.randn(theirs.shape, generator=generator)
    for a, b in zip(
        torch.autograd.grad(mine, (image, weight), seed),
        torch.autograd.grad(theirs, (image, weight), seed),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def single(op_type, shapes, result, attributes=(), weights=(), domain=""):
    """Graph of one node."""
    made = [
        ir.Value(name=f"v{i}", shape=ir.Shape(s), type=ir.TensorType(ir.DataType.FLOAT))
        for i, s in enumerate(shapes)
    ]
    initializers = []
    for i, array in enumerate(weights):
        tensor = ir.tensor(array, name=f"w{i}")
        value = ir.Value(name=f"w{i}", shape=tensor.shape, type=ir.TensorType(tensor.dtype))
        value.const_value = tensor
        initializers.append(value)
    out = ir.Value(name="out", shape=ir.Shape(result), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.Node(
        domain, op_type, [*made, *initializers], list(attributes), outputs=[out], name="lonely"
    )
    graph = ir.Graph(
        made,
        [out],
        nodes=[node],
        initializers=initializers,
        opset_imports={"": OPSET_VERSION},
        name="single",
    )
    return Graph(ir.Model(graph, ir_version=10))


POOL = [ir.AttrInt64s("kernel_shape", (3, 3)), ir.AttrInt64s("strides", (2, 2))]
F32 = np.float32


@pytest.mark.parametrize(
    "graph",
    [
        single("MaxPool", [(1, 2, 7, 7)], (1, 2, 3, 3), POOL),
        single(
            "MaxPool",
            [(1, 2, 7, 7)],
            (1, 2, 4, 4),
            [*POOL, ir.AttrInt64s("pads", (1, 0, 1, 1))],
        ),
        single(
            "AveragePool", [(1, 2, 7, 7)], (1, 2, 4, 4), [*POOL, ir.AttrInt64s("pads", (1,) * 4)]
        ),
        single("Concat", [(1, 2, 3, 3), (1, 1, 3, 3)], (1, 3, 3, 3), [ir.AttrInt64("axis", 1)]),
        single("Sigmoid", [(1, 3)], (1, 3)),
        single("HardSigmoid", [(1, 3)], (1, 3)),
        single("HardSwish", [(1, 3)], (1, 3)),
        single("Identity", [(1, 3)], (1, 3)),
        single("Add", [(1, 3, 2, 2), (1, 3, 1, 1)], (1, 3, 2, 2)),
        single("Clip", [(1, 3)], (1, 3), (), [F32(-0.3), F32(0.2)]),
        single("Reshape", [(1, 2, 3)], (1, 6), (), [np.array([1, 6])]),
        single("Reshape", [(1, 2, 3)], (1, 6), (), [np.array([0, -1])]),
        single("Flatten", [(1, 2, 3)], (1, 6)),
        single("Gemm", [(1, 3)], (1, 2), (), [np.ones((3, 2), F32), np.ones(2, F32)]),
        single("MatMul", [(1, 3)], (1, 2), (), [np.ones((3, 2), F32)]),
        single(
            "ConvTranspose",
            [(1, 2, 4, 4)],
            (1, 6, 9, 8),
            [
                ir.AttrInt64s("strides", (2, 2)),
                ir.AttrInt64s("pads", (1, 1, 1, 1)),
                ir.AttrInt64s("output_padding", (1, 0)),
                ir.AttrInt64s("dilations", (1, 1)),
                ir.AttrInt64("group", 2),
            ],
            [np.arange(2 * 3 * 4 * 4, dtype=F32).reshape(2, 3, 4, 4) / 50, np.ones(6, F32)],
        ),
        single(
            "Conv",
            [(1, 2, 6, 6)],
            (1, 3, 3, 3),
            [ir.AttrInt64s("pads", (0, 0, 1, 1)), ir.AttrInt64s("strides", (2, 2))],
            [np.ones((3, 2, 3, 3), F32), np.ones(3, F32)],
        ),
    ],
    ids=lambda graph: graph.nodes[0].op_type,
)
def test_single_operators_agree_with_onnx_runtime(graph):
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal(v.shape.numpy(), dtype=F32) for v in graph.inputs]

    module = TorchModule(graph, {}).eval()
    got = module(*map(torch.from_numpy, inputs)).detach().numpy()

    np.testing.assert_allclose(got, run_onnx(graph, {}, *inputs), atol=1e-5)


def test_an_operator_that_is_not_supported_is_named_with_its_node():
    with pytest.raises(LoweringError, match=r"'Erf'.*'lonely'"):
        TorchPlan(single("Erf", [(1, 3)], (1, 3)))


def test_an_operator_of_another_domain_is_refused():
    with pytest.raises(LoweringError, match="lonely"):
        TorchPlan(single("Relu", [(1, 3)], (1, 3), domain="com.example"))


def test_weights_are_checked_when_a_module_is_made():
    space = get_space("mbconv-digits")
    graph = space.network(space.smallest())
    weights = random_weights(graph, np.random.default_rng(0))
    name = "stem/conv/weight"

    with pytest.raises(LoweringError, match=r"stem/conv/weight.*no value"):
        TorchModule(graph, {k: v for k, v in weights.items() if k != name})
    with pytest.raises(LoweringError, match=r"stem/conv/weight.*wants"):
        TorchModule(graph, weights | {name: weights[name][:1]})


def test_weights_come_back_as_they_went_in():
    space = get_space("mbconv-digits")
    graph = space.network(space.smallest())
    weights = random_weights(graph, np.random.default_rng(0))

    found = TorchModule(graph, weights).weights()

    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name]) for name in weights)


def test_training_updates_running_statistics_as_torch_layers_do():
    g = GraphBuilder("norm")
    g.output(g.batch_norm(g.input("x", (1, 2, 4, 4)), name="norm"), "y")
    graph = g.build()
    weights = random_weights(graph, np.random.default_rng(0))
    layer = torch.nn.BatchNorm2d(2)
    parts = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
    layer.load_state_dict(
        {theirs: torch.tensor(weights[f"norm/{ours}"]) for ours, theirs in parts.items()},
        strict=False,
    )
    module = TorchModule(graph, weights).train()
    x = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(module(x), layer(x))

    torch.testing.assert_close(module.tensors()["norm/mean"], layer.running_mean)
    torch.testing.assert_close(module.tensors()["norm/variance"], layer.running_var)


def test_a_plan_takes_batches_of_any_size_and_refuses_other_numbers_of_inputs():
    space = get_space("mbconv-digits")
    graph = space.network(space.smallest())
    module = TorchModule(graph, random_weights(graph, np.random.default_rng(0))).eval()
    x = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        together = module(x)
        apart = torch.cat([module(image[None]) for image in x])

    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)
    with pytest.raises(LoweringError, match="takes 1 inputs, not 2"):
        module(x, x)


def test_constants_follow_the_weights_to_their_device():
    g = GraphBuilder("scaled")
    x = g.conv(g.input("input", (1, 2, 4, 4)), 2, 1, name="conv", bias=True)
    g.output(g.zeros_like(x), "output")
    graph = g.build()
    module = TorchModule(graph, random_weights(graph, np.random.default_rng(0)))

    module.to("meta")

    assert [constant.device.type for constant in module.plan._constants] == ["meta"]
