"""Running, recalibrating and exporting a sub-net, for every way of sharing weights."""

from functools import partial

import numpy as np
import onnxruntime as ort
import pytest
import torch

from hwnas.errors import RunError, SpaceError
from hwnas.graph import shape_of
from hwnas.lowering import to_onnx
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import Architecture, ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.kernel_transform import KernelTransformSupernet
from hwnas.supernet.separate import SeparateSupernet
from hwnas.supernet.sharing import SHARINGS, supernet_class

KINDS = [ElasticSupernet, KernelTransformSupernet, SeparateSupernet]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.sharing)
def kind(request):
    return request.param


@pytest.fixture
def supernet(space, kind):
    return made(kind, space)


def made(kind, space, seed=0):
    """A supernet whose every weight is random, those that start as something special too."""
    supernet = kind(space, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return supernet


def images(n, side=16, seed=0):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def architectures(space, n, seed=0):
    rows = space.sample(n, np.random.default_rng(seed))
    return [space.architecture(row) for row in rows]


@pytest.mark.parametrize("name", ["tiny", "mbconv-digits"])
def test_a_sub_net_equals_a_separate_module_with_the_cut_weights(make_space, kind, name):
    space = make_space() if name == "tiny" else get_space(name)
    side = 16 if name == "tiny" else 32
    supernet = made(kind, space)
    x = images(8, side)

    for architecture in architectures(space, 3):
        weights = supernet.weights(architecture)
        module = TorchModule(space.network(architecture), weights).train()
        with torch.no_grad():
            torch.testing.assert_close(module(x), supernet(x, architecture), rtol=1e-4, atol=1e-4)


def test_weights_are_exactly_those_that_the_network_declares(supernet, space):
    for architecture in architectures(space, 5):
        declared = space.network(architecture).weights
        weights = supernet.weights(architecture)

        assert weights.keys() == declared.keys()
        assert all(weights[n].shape == shape_of(v) for n, v in declared.items())


def test_depth_one_runs_only_the_first_block(supernet, space):
    options = space.options(space.largest()) | {"depth": 1}
    shallow = space.from_options(options)
    x = images(8)
    before = supernet(x, shallow)

    with torch.no_grad():
        for name, parameter in supernet.shared_parameters().items():
            if name.startswith("block.2/"):
                parameter.fill_(float("nan"))

    torch.testing.assert_close(supernet(x, shallow), before)
    assert supernet(x, space.largest()).isnan().any()


def test_recalibrating_twice_gives_identical_statistics_and_leaves_the_weights(supernet, space):
    before = {name: p.detach().clone() for name, p in supernet.shared_parameters().items()}
    architecture = space.largest()

    first = supernet.calibrate(architecture, images(100))
    second = supernet.calibrate(architecture, images(100))

    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(before[n], p) for n, p in supernet.shared_parameters().items())


def test_statistics_of_one_batch_reproduce_batch_normalisation(supernet, space):
    architecture = space.largest()
    x = images(48)

    statistics = supernet.calibrate(architecture, x, batch_size=48)

    with torch.no_grad():
        batch = supernet(x, architecture)
    torch.testing.assert_close(
        supernet.logits(architecture, x, statistics), batch, rtol=1e-3, atol=1e-4
    )


def test_batches_weigh_as_much_as_they_have_images(supernet, space):
    architecture = space.smallest()
    x = images(60)
    parts = [supernet.calibrate(architecture, part, batch_size=64) for part in x.split(40)]

    joint = supernet.calibrate(architecture, x, batch_size=40)

    for name, value in joint.items():
        torch.testing.assert_close(value, (40 * parts[0][name] + 20 * parts[1][name]) / 60)


@pytest.mark.parametrize("name", ["tiny", "mbconv-digits"])
def test_the_exported_sub_net_gives_the_same_logits_in_onnx_runtime(make_space, kind, name):
    space = make_space() if name == "tiny" else get_space(name)
    x = images(32, 16 if name == "tiny" else 32)
    supernet = made(kind, space)

    for architecture in architectures(space, 3, seed=1):
        statistics = supernet.calibrate(architecture, x)
        proto = to_onnx(space.network(architecture), supernet.weights(architecture, statistics))
        session = ort.InferenceSession(
            proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        ours = supernet.logits(architecture, x, statistics).numpy()
        theirs = [session.run(None, {"input": image[None]})[0][0] for image in x.numpy()]

        scale = max(1.0, float(np.abs(ours).max()))
        np.testing.assert_allclose(ours / scale, np.stack(theirs) / scale, atol=1e-4)


def test_the_same_seed_gives_the_same_supernet(space, kind):
    first, second = (made(kind, space, 3) for _ in range(2))

    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_an_architecture_of_another_space_is_refused(supernet):
    with pytest.raises(SpaceError, match="'other'"):
        supernet(images(2), Architecture("other", (0, 0, 0, 0, 0)))


def test_every_way_of_sharing_is_found_by_its_name():
    assert {kind.sharing for kind in KINDS} <= set(SHARINGS)
    assert all(supernet_class(name).sharing == name for name in SHARINGS)
    with pytest.raises(RunError, match="hwnas knows"):
        supernet_class("nothing")


def test_a_block_alone_gives_what_it_gives_inside_the_network(supernet, space):
    x = images(8)
    architecture = space.largest()
    results = []
    for block in range(len(space.blocks)):
        choice = tuple(architecture.indices[column] for column in space.columns_of(block))
        inputs = [results[i] for i in supernet.sources_of(block)] or [x]
        plan = supernet.block_plan(block, choice)
        weights = supernet.block_weights(block, choice)
        results.append(inputs[0] if plan.is_empty else plan(inputs, weights, training=True)[0])

    torch.testing.assert_close(results[-1], supernet(x, architecture))


def test_a_space_without_an_input_or_with_two_is_refused(kind):
    def take(g, x):
        return g.relu(x)

    def give(g):
        return g.input("input", (1, 1, 8, 8))

    two = (
        ChoiceBlock("a", give, inputs=()),
        ChoiceBlock("b", give, inputs=()),
        ChoiceBlock("c", take, inputs=("a",)),
    )
    space = SearchSpace("two", (Decision("unused", (1,)),), two)

    with pytest.raises(SpaceError, match="two has 2 blocks that declare inputs"):
        kind(space)


def test_a_sub_net_of_a_smaller_side_sees_scaled_images():
    space = SearchSpace(
        "sides",
        (Decision("side", (16, 24)),),
        (
            ChoiceBlock("input", partial(network_input, channels=1), {"resolution": "side"}),
            ChoiceBlock("stem", partial(conv_unit, width=4, kernel=3), shaped_by=("side",)),
            ChoiceBlock("classifier", partial(classifier, classes=3), shaped_by=("side",)),
        ),
    )
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    images = torch.randn(4, 1, 24, 24, generator=torch.Generator().manual_seed(1))
    small = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)

    seen = supernet(images, space.smallest())

    assert torch.equal(seen, supernet(small, space.smallest()))
    assert not torch.equal(seen, supernet(images, space.largest()))
