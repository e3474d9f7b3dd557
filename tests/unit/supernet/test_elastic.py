"""A sub-net of the supernet is the network that the space builds, with cut weights."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import SpaceError
from hwnas.graph import count_graph
from hwnas.lowering import to_onnx
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import Architecture, get_space
from hwnas.supernet.elastic import ElasticSupernet, sub_slices


@pytest.fixture
def supernet(space):
    return ElasticSupernet(space, torch.Generator().manual_seed(0))


def images(n, side=16, seed=0):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def architectures(space, n, seed=0):
    rows = space.sample(n, np.random.default_rng(seed))
    return [space.architecture(row) for row in rows]


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([1, 3, 5, 7]),
)
def test_slices_take_channel_prefixes_and_the_centre_of_kernels(a, b, c, d, k, j):
    out, wide = sorted((a, b))
    few, many = sorted((c, d))
    small, large = sorted((k, j))
    shared = np.arange(wide * many * large * large).reshape(wide, many, large, large)

    slices = sub_slices(shared.shape, (out, few, small, small))

    cut = shared if slices is None else shared[slices]
    edge = (large - small) // 2
    expected = shared[:out, :few, edge : edge + small, edge : edge + small]
    np.testing.assert_array_equal(cut, expected)


@pytest.mark.parametrize("name", ["tiny", "mbconv-digits"])
def test_a_sub_net_equals_a_separate_module_with_the_cut_weights(make_space, name):
    space = make_space() if name == "tiny" else get_space(name)
    side = 16 if name == "tiny" else 32
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    x = images(8, side)

    for architecture in architectures(space, 3):
        weights = supernet.weights(architecture)
        module = TorchModule(space.network(architecture), weights).train()
        with torch.no_grad():
            torch.testing.assert_close(module(x), supernet(x, architecture), rtol=1e-4, atol=1e-4)


def test_the_supernet_has_the_weights_of_the_largest_network_not_of_all(space):
    supernet = ElasticSupernet(space)

    total = sum(parameter.numel() for parameter in supernet.parameters())

    assert total == count_graph(space.network(space.largest())).params


def test_weights_are_exactly_those_that_the_network_declares(supernet, space):
    for architecture in architectures(space, 5):
        declared = space.network(architecture).weights
        weights = supernet.weights(architecture)

        assert weights.keys() == declared.keys()
        assert all(weights[n].shape == v.shape.numpy() for n, v in declared.items())


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
def test_the_exported_sub_net_gives_the_same_logits_in_onnx_runtime(make_space, name):
    space = make_space() if name == "tiny" else get_space(name)
    x = images(32, 16 if name == "tiny" else 32)
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))

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


def test_residual_branches_start_at_zero_if_asked(space):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0), zero_residual_scale=True)
    scales = supernet.shared_parameters()

    assert not scales["block.1/project_norm/scale"].any()
    assert scales["block.1/depthwise_norm/scale"].all()
    x = images(8)
    one, two = space.smallest(), space.largest()
    torch.testing.assert_close(supernet(x, one), supernet(x, two))


def test_the_same_seed_gives_the_same_supernet(space):
    first, second = (ElasticSupernet(space, torch.Generator().manual_seed(3)) for _ in range(2))

    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_an_architecture_of_another_space_is_refused(supernet):
    with pytest.raises(SpaceError, match="'other'"):
        supernet(images(2), Architecture("other", (0, 0, 0, 0, 0)))
