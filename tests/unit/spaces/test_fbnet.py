"""`fbnet` against the tables of its paper and formulas that do not use the graph."""

import numpy as np
import onnxruntime
import pytest
import torch

from hwnas.graph import GraphBuilder, count_graph, shape_of
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import get_space
from hwnas.spaces.fbnet import OPERATORS

# Table 1 of the paper: input channels, output channels, input side, stride of each searched layer.
LAYERS = [(16, 16, 112, 1)]
for _c, _k, _side, _stride, _depth in (
    (16, 24, 112, 2, 4),
    (24, 32, 56, 2, 4),
    (32, 64, 28, 2, 4),
    (64, 112, 14, 1, 4),
    (112, 184, 14, 2, 4),
    (184, 352, 7, 1, 1),
):
    LAYERS += [(_c, _k, _side, _stride), *[(_k, _k, _side // _stride, 1)] * (_depth - 1)]
FIXED_MACS = 112**2 * 16 * 3 * 9 + 7**2 * 352 * 1984 + 1984 * 1000


def uniform(space, operator):
    return space.from_options({decision.name: operator for decision in space.decisions})


def run_onnx(graph, weights, image):
    model = to_onnx(graph, weights).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def test_there_are_22_layers_of_nine_operators():
    space = get_space("fbnet")

    assert space.option_counts.tolist() == [9] * 22
    assert space.cardinality == 9**22
    assert all(sorted(d.options) == sorted(OPERATORS) for d in space.decisions)


@pytest.mark.parametrize(
    ("operator", "kernel", "expand", "groups"),
    [
        ("k3_e1", 3, 1, 1),
        ("k3_e1_g2", 3, 1, 2),
        ("k3_e3", 3, 3, 1),
        ("k5_e1_g2", 5, 1, 2),
        ("k5_e6", 5, 6, 1),
    ],
)
def test_a_network_of_one_operator_counts_what_the_paper_says(operator, kernel, expand, groups):
    space = get_space("fbnet")
    wanted = FIXED_MACS
    for c, k, side, stride in LAYERS:
        out, inner = (side // stride) ** 2, c * expand
        wanted += (c * inner * side**2 + inner * k * out) // groups + inner * kernel**2 * out

    assert count_graph(space.network(uniform(space, operator))).macs == wanted


def test_skipping_leaves_a_convolution_where_the_shape_changes():
    space = get_space("fbnet")
    wanted = FIXED_MACS
    for c, k, side, stride in LAYERS:
        wanted += c * k * (side // stride) ** 2 if (c, stride) != (k, 1) else 0

    assert count_graph(space.network(uniform(space, "skip"))).macs == wanted


def test_fbnet_a_has_about_its_published_work():
    # Wu et al., table 3: FBNet-A has 249 M MACs and 4.3 M parameters. Operators as in the authors'
    # code, where its last convolution has 1504 channels and not 1984.
    space = get_space("fbnet")
    operators = ["skip"]
    operators += ["k3_e3", "k3_e1", "skip", "skip"]
    operators += ["k5_e6", "k3_e3", "k5_e1", "k3_e3"]
    operators += ["k5_e6", "k5_e3", "k5_e1_g2", "k5_e6"]
    operators += ["k3_e6", "k5_e1_g2", "k5_e1", "k3_e1_g2"]
    operators += ["k5_e6", "k5_e6", "k5_e3", "k5_e6"]
    operators += ["k5_e6"]
    names = (decision.name for decision in space.decisions)

    counts = count_graph(
        space.network(space.from_options(dict(zip(names, operators, strict=True))))
    )

    fewer = 1984 - 1504
    assert counts.macs - fewer * (7**2 * 352 + 1000) == pytest.approx(249e6, rel=0.05)
    assert counts.params - fewer * (352 + 2 + 1000) == pytest.approx(4.3e6, rel=0.02)


def test_the_space_for_small_images_keeps_their_side_twice():
    space = get_space("fbnet-cifar")
    sides = {}
    for index, block in enumerate(space.blocks):
        graph = space.fragment(index, (0,) * len(block.decisions)).graph
        sides[block.name] = shape_of(graph.outputs[0])[-1]

    assert sides["stem"] == sides["stage1.1"] == sides["stage2.4"] == 32
    assert sides["stage3.4"] == 16
    assert sides["stage4.1"] == sides["stage5.4"] == 8
    assert sides["stage6.4"] == sides["head"] == 4


def test_channels_are_shuffled_as_in_shufflenet():
    builder = GraphBuilder("shuffle")
    x = builder.input("x", (1, 6, 2, 2))
    builder.output(builder.channel_shuffle(x, 2), "y")
    image = np.arange(24, dtype=np.float32).reshape(1, 6, 2, 2)

    shuffled = run_onnx(builder.build(), {}, image)

    assert np.array_equal(shuffled, image[:, [0, 3, 1, 4, 2, 5]])


def test_torch_and_onnxruntime_agree_on_grouped_and_skipped_layers():
    space = get_space("fbnet@32")
    rng = np.random.default_rng(0)
    grouped = [("k3_e1_g2", "skip", "k5_e3")[i % 3] for i in range(len(space.decisions))]
    names = (decision.name for decision in space.decisions)
    graph = space.network(space.from_options(dict(zip(names, grouped, strict=True))))
    weights = random_weights(graph, rng)
    images = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
    module = TorchModule(graph, weights)
    module.eval()

    with torch.no_grad():
        found = module(torch.from_numpy(images)).numpy()
    wanted = np.concatenate([run_onnx(graph, weights, images[i : i + 1]) for i in range(2)])

    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)
