"""What an elastic supernet shares: prefixes of channels, centres of kernels."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwnas.graph import count_graph
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.view import sub_slices


def images(n, side=16, seed=0):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


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


def test_the_supernet_has_the_weights_of_the_largest_network_not_of_all(space):
    supernet = ElasticSupernet(space)

    total = sum(parameter.numel() for parameter in supernet.parameters())

    assert total == count_graph(space.network(space.largest())).params


def test_residual_branches_start_at_zero_if_asked(space):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0), zero_residual_scale=True)
    scales = supernet.shared_parameters()

    assert not scales["block.1/project_norm/scale"].any()
    assert scales["block.1/depthwise_norm/scale"].all()
    x = images(8)
    one, two = space.smallest(), space.largest()
    torch.testing.assert_close(supernet(x, one), supernet(x, two))


def test_a_small_kernel_is_the_centre_of_the_large_one_and_narrow_layers_are_prefixes(space):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    shared = supernet.shared_parameters()

    small = supernet.weights(space.smallest())

    depthwise = shared["block.1/depthwise/weight"].detach().numpy()
    project = shared["block.1/project/weight"].detach().numpy()
    assert depthwise.shape == (32, 1, 7, 7)
    np.testing.assert_array_equal(small["block.1/depthwise/weight"], depthwise[:16, :, 2:5, 2:5])
    np.testing.assert_array_equal(small["block.1/project/weight"], project[:, :16])
