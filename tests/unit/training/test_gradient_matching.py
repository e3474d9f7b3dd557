"""Distances of gradients: range, symmetry, identical options, clusters that are known."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.spaces import ChoiceBlock, Decision, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.gradient_matching import gradient_distances
from hwnas.training.path_gradients import path_gradients
from hwnas.training.splitting import bipartition


def gradients_of(space, digits, paths):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    images, labels = torch.from_numpy(digits.x_train[:16]), torch.from_numpy(digits.y_train[:16])
    found, _ = path_gradients(
        supernet, paths, images, lambda i, logits, t: functional.cross_entropy(logits, labels)
    )
    return found


def test_distances_are_symmetric_from_0_to_2_with_a_diagonal_of_0(space, digits):
    rows = space.sample(4, np.random.default_rng(0))
    paths = [space.architecture(row) for row in rows]

    found = gradient_distances(gradients_of(space, digits, paths))

    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0)
    assert (found >= 0).all()
    assert (found <= 2).all()
    assert found.max() > 1e-3


def test_the_distance_is_one_minus_the_mean_cosine_of_filters():
    a = torch.tensor([[1.0, 0.5], [2.0, 1.0], [1.0, 3.0]])
    b = torch.stack([a[0], -a[1], torch.tensor([-3.0, 1.0])])

    found = gradient_distances([(a, torch.ones(5)), (b, -torch.ones(5))])

    assert found[0, 1] == pytest.approx((0 + 2 + 1) / 3)


def test_opposite_gradients_reach_the_upper_end_and_scale_does_not_matter():
    a = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))

    found = gradient_distances([(a,), (-a,), (1e-20 * a,)])

    assert found[0, 1] == pytest.approx(2.0)
    assert found[0, 2] == pytest.approx(0.0, abs=1e-9)


def test_only_weights_that_both_options_use_are_compared():
    large = torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    centre = torch.zeros_like(large)
    centre[..., 2:5, 2:5] = large[..., 2:5, 2:5]
    half = large.clone()
    half[1] = 0

    found = gradient_distances([(large, large), (centre, None), (half, -large)])

    assert found[0, 1] == pytest.approx(0.0, abs=1e-12)
    assert found[0, 2] == pytest.approx((0 + 2 + 2) / 3)
    assert found[1, 2] == pytest.approx(0.0, abs=1e-12)


def test_options_that_share_nothing_do_not_disagree():
    a = torch.ones(2, 2)

    assert not gradient_distances([(a, None), (None, a)]).any()


def test_two_clusters_of_gradients_are_recovered():
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(2, 16, 8, 3, 3, generator=generator)
    members = [0, 1, 1, 0, 1, 0]
    noise = torch.randn(6, 16, 8, 3, 3, generator=generator)
    gradients = [(centres[m] + 0.7 * noise[i],) for i, m in enumerate(members)]

    found = bipartition(gradient_distances(gradients))

    assert found.groups == ((0, 3, 5), (1, 2, 4))


def test_options_that_are_the_same_end_in_the_same_group(digits):
    kernels = (3, 7, 7, 3)

    def emit(builder, x, option):
        return inverted_residual(
            builder, x, kernel=kernels[option], expand=4, width=8, squeeze_excite=False
        )

    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
        ChoiceBlock("block", emit, {"option": "option"}),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    space = SearchSpace("twins", (Decision("option", (0, 1, 2, 3)),), blocks)

    found = gradient_distances(
        gradients_of(space, digits, [space.architecture([i]) for i in range(4)])
    )

    assert found[0, 3] == pytest.approx(0.0, abs=1e-9)
    assert found[1, 2] == pytest.approx(0.0, abs=1e-9)
    assert found[0, 1] > 0.01
    assert bipartition(found).groups == ((0, 3), (1, 2))
