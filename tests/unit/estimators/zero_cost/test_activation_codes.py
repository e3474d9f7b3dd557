"""NASWOT against a count by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.estimators.zero_cost.activation_codes import naswot


def codes(network):
    """What every rectifier's input is above zero, image by image."""
    first, second, _ = (network.weights[k].detach() for k in network.kernels)
    one = functional.conv2d(network.images, first, padding=1)
    two = functional.conv2d(one.relu(), second, padding=1)
    return np.concatenate([(x > 0).flatten(1).numpy() for x in (one, two)], axis=1)


def test_the_kernel_counts_units_that_switch_alike(make_network, plain_graph):
    network = make_network(plain_graph)
    code = codes(network)

    alike = (code[:, None, :] == code[None, :, :]).sum(-1).astype(float)

    assert alike[0, 0] == code.shape[1]
    assert naswot(network) == pytest.approx(np.linalg.slogdet(alike)[1], rel=1e-9)


def test_the_order_of_the_images_is_of_no_account(make_network, plain_graph):
    network = make_network(plain_graph)
    before = naswot(network)
    images, labels = network._batches[0]

    network._batches[0] = (images.flip(0), labels)

    assert naswot(network) == pytest.approx(before, rel=1e-9)


def test_two_equal_images_have_no_score(make_network, plain_graph):
    network = make_network(plain_graph)
    images, labels = network._batches[0]

    network._batches[0] = (torch.cat((images[:1], images[:-1])), labels)

    assert naswot(network) == -np.inf


def test_looking_does_not_change_what_a_network_computes(make_network, normalised_graph):
    network = make_network(normalised_graph)
    before = network.outputs(network.images)

    naswot(network)

    assert torch.equal(network.outputs(network.images), before)
