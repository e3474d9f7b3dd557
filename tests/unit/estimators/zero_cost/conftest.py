"""Small networks whose scores can be worked out by hand."""

import pytest
import torch

from hwnas.estimators.zero_cost import UntrainedNetwork
from hwnas.graph import GraphBuilder
from hwnas.spaces import get_space

IMAGES = 6


@pytest.fixture
def make_network():
    """An untrained network of a graph."""

    def make(graph, *, seed=0, images=IMAGES):
        return UntrainedNetwork(graph, torch.Generator().manual_seed(seed), images)

    return make


@pytest.fixture
def plain_graph():
    """Two convolutions and a classifier without normalisation; biases start at zero."""
    builder = GraphBuilder("plain")
    x = builder.input("image", (1, 2, 6, 6))
    x = builder.relu(builder.conv(x, 4, 3, name="first"))
    x = builder.relu(builder.conv(x, 5, 3, name="second"))
    x = builder.flatten(builder.global_average_pool(x))
    builder.output(builder.gemm(x, 3, name="last"), "logits")
    return builder.build()


@pytest.fixture
def normalised_graph():
    """A network of the space of digits: batch norms, residuals, squeeze and excite."""
    space = get_space("mbconv-digits@16")
    return space.network(space.largest())
