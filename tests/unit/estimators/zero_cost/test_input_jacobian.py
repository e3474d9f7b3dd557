"""Jacobian covariance against its definition."""

import numpy as np
import pytest
from torch.nn import functional

from hwnas.estimators.zero_cost.input_jacobian import jacobian_covariance
from hwnas.graph import GraphBuilder


def test_it_is_its_definition(make_network, plain_graph):
    network = make_network(plain_graph)
    first, second, last = (network.weights[k].detach() for k in network.kernels)
    images = network.images.clone().requires_grad_()
    x = functional.conv2d(images, first, padding=1).relu()
    x = functional.conv2d(x, second, padding=1).relu()
    functional.linear(x.mean((2, 3)), last).sum().backward()

    jacobian = images.grad.flatten(1).double().numpy()
    values = np.linalg.eigvalsh(np.corrcoef(jacobian)) + 1e-5

    expected = -(np.log(values) + 1 / values).sum()
    assert jacobian_covariance(network) == pytest.approx(expected, rel=1e-4)


def test_a_linear_network_reacts_to_all_images_alike(make_network):
    builder = GraphBuilder("linear")
    x = builder.conv(builder.input("image", (1, 2, 6, 6)), 4, 3, name="only")
    x = builder.flatten(builder.global_average_pool(x))
    builder.output(builder.gemm(x, 3, name="last"), "logits")

    score = jacobian_covariance(make_network(builder.build(), images=4))

    assert score < -2.5e5  # three eigenvalues are zero, and each costs 1e5
