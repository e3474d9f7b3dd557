"""Sums over the weights that choices take."""

import numpy as np
import pytest
import torch

from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.weight_saliency import (
    population_sums,
    slice_sum,
    slot_sums,
    weight_gradients,
)


@pytest.fixture(scope="module")
def supernet(space):
    return ElasticSupernet(space, torch.Generator().manual_seed(0))


def magnitudes(supernet):
    return {name: p.detach().abs() for name, p in supernet.shared_parameters().items()}


def test_sums_over_slots_are_sums_over_the_weights_of_each_network(space, supernet):
    rows = space.sample(8, np.random.default_rng(0))

    found = population_sums(space, slot_sums(supernet, magnitudes(supernet)), rows)

    for row, value in zip(rows, found, strict=True):
        architecture = space.architecture(row)
        views = [view for binding in supernet._path(architecture) for view in binding.views]
        direct = sum(float(supernet.cut(view).detach().abs().sum()) for view in views)
        assert value == pytest.approx(direct, rel=1e-5)


def test_a_larger_slice_never_scores_less(space, supernet):
    slots = slot_sums(supernet, magnitudes(supernet))
    rows = space.sample(40, np.random.default_rng(1))
    larger = space.canonicalise(np.minimum(rows + 1, space.option_counts - 1).astype(np.uint8))

    before, after = population_sums(space, slots, rows), population_sums(space, slots, larger)

    assert (after >= before - 1e-4).all()
    assert (after > before).any()


def test_an_absent_block_and_missing_weights_count_nothing(space, supernet):
    last = [block.name for block in space.blocks].index("block.2")

    assert slice_sum(supernet, magnitudes(supernet), last, (0, 2, 1)) == 0.0
    assert slice_sum(supernet, magnitudes(supernet), last, (1, 2, 1)) > 0.0
    assert slice_sum(supernet, {}, last, (1, 2, 1)) == 0.0


def test_gradients_come_from_the_largest_network_and_need_no_labels(space, supernet):
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))

    found = weight_gradients(supernet, images, torch.sum)

    supernet(images, space.largest()).sum().backward()
    for name, parameter in supernet.shared_parameters().items():
        assert torch.equal(found[name], parameter.grad)
