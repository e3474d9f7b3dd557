"""Learned kernel transformations: centre crops at first, a chain of matrices afterwards."""

import numpy as np
import pytest
import torch

from hwnas.spaces import get_space
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.kernel_transform import KernelTransformSupernet
from hwnas.training.checkpoint import load_supernet, save_checkpoint


@pytest.fixture
def supernet(space):
    return KernelTransformSupernet(space, torch.Generator().manual_seed(0))


def randomise(supernet):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in supernet.shared_parameters().values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def images(n=8):
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def with_kernel(space, side, **more):
    kernels = {"block.1.kernel": side, "block.2.kernel": side}
    return space.from_options(space.options(space.largest()) | kernels | more)


def depthwise(supernet, architecture):
    return supernet.weights(architecture)["block.1/depthwise/weight"]


@pytest.mark.parametrize("side", [3, 5, 7])
def test_identity_matrices_give_the_plain_centre_crop(supernet, space, side):
    plain = ElasticSupernet(space, torch.Generator().manual_seed(0))
    architecture = with_kernel(space, side)

    for name, array in plain.weights(architecture).items():
        np.testing.assert_array_equal(supernet.weights(architecture)[name], array)
    torch.testing.assert_close(supernet(images(), architecture), plain(images(), architecture))


def test_small_kernels_are_made_from_the_transformed_larger_ones(supernet, space):
    randomise(supernet)
    stored = {n: p.detach().numpy() for n, p in supernet.shared_parameters().items()}
    name = "block.1/depthwise/weight"
    five, three = stored[f"{name}/to5x5"], stored[f"{name}/to3x3"]
    kernel = stored[name][:, 0]

    by_hand5 = np.stack([(five @ k[1:6, 1:6].ravel()).reshape(5, 5) for k in kernel])
    by_hand3 = np.stack([(three @ k[1:4, 1:4].ravel()).reshape(3, 3) for k in by_hand5])

    assert (five.shape, three.shape) == ((25, 25), (9, 9))
    for side, expected in ((7, kernel), (5, by_hand5), (3, by_hand3)):
        found = depthwise(supernet, with_kernel(space, side))[:, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_all_channels_share_the_matrices_so_a_narrow_layer_is_a_prefix(supernet, space):
    randomise(supernet)

    wide = depthwise(supernet, with_kernel(space, 3))
    narrow = depthwise(supernet, with_kernel(space, 3, **{"block.1.expand": 2}))

    assert (len(wide), len(narrow)) == (32, 16)
    np.testing.assert_allclose(narrow, wide[:16], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("side", "used"), [(7, ()), (5, ("5",)), (3, ("5", "3"))])
def test_only_the_matrices_of_the_chain_get_a_gradient(supernet, space, side, used):
    supernet(images(), with_kernel(space, side)).square().sum().backward()

    stored = supernet.shared_parameters()
    for end in ("5", "3"):
        gradient = stored[f"block.1/depthwise/weight/to{end}x{end}"].grad
        assert (gradient is not None) == (end in used)
        assert gradient is None or gradient.abs().sum() > 0
    assert stored["block.1/depthwise/weight"].grad.abs().sum() > 0


def test_there_is_one_pair_of_matrices_for_each_layer_with_elastic_kernels():
    space = get_space("mbconv-digits")
    plain, transformed = ElasticSupernet(space), KernelTransformSupernet(space)

    added = set(transformed.shared_parameters()) - set(plain.shared_parameters())

    layers = [name for name in plain.shared_parameters() if name.endswith("depthwise/weight")]
    assert len(layers) == 9
    assert added == {f"{layer}/{end}" for layer in layers for end in ("to5x5", "to3x3")}


def test_the_matrices_are_part_of_the_checkpoint(supernet, space, tmp_path):
    randomise(supernet)
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, {"space": space.name}, supernet, [])

    found = load_supernet(path, space)

    assert type(found) is KernelTransformSupernet
    architecture = with_kernel(space, 3)
    assert torch.equal(found(images(), architecture), supernet(images(), architecture))


@torch.no_grad()
def test_the_space_of_once_for_all_runs_at_a_fixed_image_side():
    space = get_space("ofa-mbv3@32")
    supernet = KernelTransformSupernet(space, torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    for architecture in (space.smallest(), space.largest()):
        result = supernet(x, architecture)
        assert result.shape == (2, 1000)
        assert result.isfinite().all()
