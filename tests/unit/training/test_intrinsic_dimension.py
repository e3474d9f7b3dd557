"""The estimate knows dimensions that are known; signatures of like sub-nets are alike."""

import numpy as np
import pytest
import torch

from hwnas.errors import DataError
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.intrinsic_dimension import (
    layer_signature,
    local_intrinsic_dimension,
    signature_distances,
)


def embedded(dimension, n=1000, axes=16, seed=0):
    """Uniform points of a cube, turned into more axes."""
    generator = torch.Generator().manual_seed(seed)
    inner = torch.rand(n, dimension, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(axes, axes, generator=generator, dtype=torch.float64))
    return inner @ turn[:dimension]


def images(n=48, seed=0):
    return torch.randn(n, 1, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("dimension", "expected"), [(1, 1.10), (2, 2.18), (5, 4.93)])
def test_uniform_points_have_about_the_dimension_of_their_cube(dimension, expected):
    values = [local_intrinsic_dimension(embedded(dimension, seed=s)) for s in range(3)]

    assert np.mean(values) == pytest.approx(expected, rel=0.02)


def test_the_estimate_is_that_of_the_formula():
    points = embedded(3, n=40).numpy()
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, 1:6]
    expected = np.mean(-5 / np.log(distances / distances[:, 4:5]).sum(axis=1))

    assert local_intrinsic_dimension(torch.from_numpy(points), 5) == pytest.approx(expected)


def test_the_estimate_does_not_change_with_scale_rotation_or_shift():
    points = embedded(3, n=200)
    turn, _ = torch.linalg.qr(
        torch.randn(16, 16, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    )
    plain = local_intrinsic_dimension(points)

    assert local_intrinsic_dimension(points * 1e-3) == pytest.approx(plain, rel=1e-6)
    assert local_intrinsic_dimension(points * 1e6) == pytest.approx(plain, rel=1e-6)
    assert local_intrinsic_dimension(points @ turn) == pytest.approx(plain, rel=1e-6)
    assert local_intrinsic_dimension(points + 100) == pytest.approx(plain, rel=1e-6)


def test_points_that_coincide_and_points_at_equal_distances_give_finite_numbers():
    twins = embedded(2, n=50).repeat(2, 1)

    assert local_intrinsic_dimension(torch.ones(30, 4)) == 0.0
    assert local_intrinsic_dimension(torch.eye(6)) == 6.0
    assert 0 < local_intrinsic_dimension(twins) < local_intrinsic_dimension(twins[:50])


def test_too_few_points_are_refused():
    with pytest.raises(DataError, match="2 points"):
        local_intrinsic_dimension(torch.rand(2, 3))


def test_a_signature_has_an_entry_for_every_block_and_repeats_it_for_an_absent_one(space):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    deep, shallow = space.largest(), space.smallest()

    found = [layer_signature(supernet, path, images()) for path in (deep, shallow)]

    assert [len(signature) for signature in found] == [len(space.blocks) - 1] * 2
    assert all((signature > 0).all() for signature in found)
    assert found[1][1] == found[1][2]
    assert found[0][1] != found[0][2]


def test_a_signature_is_of_the_features_that_the_supernet_computes(space):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    x = images()

    for path in (space.largest(), space.smallest()):
        logits = supernet(x, path).detach()
        assert layer_signature(supernet, path, x)[-1] == pytest.approx(
            local_intrinsic_dimension(logits)
        )


def test_signatures_need_no_gradient_and_change_nothing(space):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    before = [p.detach().clone() for p in supernet.parameters()]

    first, again = (layer_signature(supernet, space.largest(), images()) for _ in range(2))

    np.testing.assert_array_equal(first, again)
    for old, parameter in zip(before, supernet.parameters(), strict=True):
        assert torch.equal(old, parameter)
        assert parameter.grad is None


def test_distances_of_signatures_are_symmetric_and_0_for_like_ones():
    signatures = [np.array(v) for v in ([1.0, 2.0], [2.0, 4.0], [2.0, 1.0], [0.0, 0.0])]

    found = signature_distances(signatures)

    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0)
    assert found[0, 1] == pytest.approx(0.0, abs=1e-12)
    assert found[0, 2] == pytest.approx(1 - 4 / 5)
    assert found[0, 3] == 1.0
    assert (found >= 0).all()
    assert (found <= 1).all()
