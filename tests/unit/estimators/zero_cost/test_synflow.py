"""SynFlow against its identity: every layer of a network without bias holds the whole flow."""

import math

import pytest
import torch
from torch.nn import functional

from hwnas.estimators.zero_cost.synflow import synflow
from hwnas.spaces import get_space


def test_it_is_the_number_of_layers_times_the_flow(make_network, plain_graph):
    network = make_network(plain_graph)
    first, second, last = (network.weights[k].detach().abs().double() for k in network.kernels)

    x = functional.conv2d(torch.ones(1, 2, 6, 6, dtype=torch.float64), first, padding=1)
    x = functional.conv2d(x, second, padding=1)
    flow = functional.linear(x.mean((2, 3)), last).sum().item()

    assert synflow(network) == pytest.approx(math.log(3 * flow), rel=1e-12)


def test_it_looks_at_no_image_and_changes_no_weight(make_network, normalised_graph):
    network = make_network(normalised_graph)
    before = {name: w.detach().clone() for name, w in network.weights.items()}

    first = synflow(network)
    network._batches.clear()

    assert synflow(network) == first
    assert all(torch.equal(before[name], w) for name, w in network.weights.items())


def test_another_path_never_lowers_it(make_network):
    space = get_space("nasbench201@16")
    cell = space.architecture([0, 0, 0, 3, 0, 0])  # one convolution from input to output
    more = space.architecture([0, 1, 0, 3, 0, 1])  # and a path of skips beside it

    one, both = (synflow(make_network(space.network(a), images=2)) for a in (cell, more))

    assert both > one


def test_deep_networks_do_not_overflow(make_network):
    space = get_space("nasbench201@16")

    score = synflow(make_network(space.network(space.largest()), images=2))

    assert 20.0 < score < 200.0
