"""SNIP, the gradient norm and ZiCo against their definitions, by layers of torch."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.estimators.zero_cost.loss_gradients import gradient_norm, snip, zico


@pytest.fixture
def gradients(make_network, plain_graph):
    """Kernels of a network, and the gradients of its two batches, without hwnas's plan."""
    network = make_network(plain_graph)
    kernels = {k: w.detach().clone() for k, w in network.weights.items() if w.ndim > 1}
    first, second, last = kernels.values()
    found = []
    for images, labels in network._batches:
        leaves = [w.clone().requires_grad_() for w in (first, second, last)]
        x = functional.conv2d(images, leaves[0], padding=1).relu()
        x = functional.conv2d(x, leaves[1], padding=1).relu()
        logits = functional.linear(x.mean((2, 3)), leaves[2])
        functional.cross_entropy(logits, labels).backward()
        found.append([leaf.grad for leaf in leaves])
    return network, list(kernels.values()), found


def test_snip_is_the_sum_of_weights_times_gradients(gradients):
    network, kernels, (batch, _) = gradients

    expected = sum((w * g).abs().sum().item() for w, g in zip(kernels, batch, strict=True))

    assert snip(network) == pytest.approx(expected, rel=1e-5)


def test_gradient_norm_is_the_sum_of_norms(gradients):
    network, _, (batch, _) = gradients

    assert gradient_norm(network) == pytest.approx(sum(g.norm().item() for g in batch), rel=1e-5)


def test_zico_of_two_batches_has_a_closed_form(gradients):
    network, _, (one, two) = gradients

    expected = 0.0
    for a, b in zip(one, two, strict=True):
        apart = (a - b).abs()
        terms = ((a.abs() + b.abs()) / apart)[apart > 0].double()
        expected += math.log(terms.sum().item())

    assert zico(network) == pytest.approx(expected, rel=1e-4)


def test_zico_of_equal_batches_is_zero(make_network, plain_graph):
    network = make_network(plain_graph)
    network._batches[1] = network._batches[0]

    assert zico(network) == 0.0


def test_scaling_a_kernel_before_a_batch_norm_leaves_its_saliency(make_network, normalised_graph):
    network, scaled = make_network(normalised_graph), make_network(normalised_graph)
    stem = network.kernels[0]
    scaled.weights[stem] = (4.0 * network.weights[stem].detach()).requires_grad_()

    first, second = (
        (n.weights[stem] * n.loss_gradients[stem]).abs().sum().item() for n in (network, scaled)
    )

    assert first > 0.0
    assert second == pytest.approx(first, rel=1e-2)


def test_labels_of_networks_that_give_masks_are_masks(make_network):
    from hwnas.spaces import get_space

    space = get_space("unet@32")
    network = make_network(space.network(space.smallest()), images=2)

    images, labels = network._batches[0]

    assert labels.shape == network.outputs(images).shape
    assert set(np.unique(labels.numpy())) == {0, 1}
    assert torch.isfinite(torch.tensor(snip(network)))
