"""Generated nuclei: exact masks, the same scenes each time and at any side."""

import numpy as np
import pytest

from hwnas.datasets.dataset import load_dataset
from hwnas.datasets.nuclei import SPLITS, _Ellipse, _scene, read_nuclei
from hwnas.errors import DataError


@pytest.fixture(scope="module")
def nuclei():
    return load_dataset("nuclei", resolution=16)


def scenes(side, n=12):
    found = [_scene(np.random.default_rng([7, index]), side) for index in range(n)]
    return np.stack([light for light, _ in found]), np.stack([mask for _, mask in found])


def test_there_are_three_splits_of_images_with_masks_and_none_is_in_two(nuclei):
    for split, count in SPLITS.items():
        x, y = getattr(nuclei, f"x_{split}"), getattr(nuclei, f"y_{split}")
        assert x.shape == y.shape == (count, 1, 16, 16)
        assert set(np.unique(y)) == {0, 1}
    assert nuclei.task == "segmentation"
    assert nuclei.augmentation == "symmetries"
    assert nuclei.x_train.std() == pytest.approx(1.0, abs=1e-4)
    images = np.concatenate([nuclei.x_train, nuclei.x_val, nuclei.x_test])
    assert len({image.tobytes() for image in images}) == sum(SPLITS.values())


def test_they_are_the_same_each_time(nuclei, monkeypatch):
    monkeypatch.setattr("hwnas.datasets.nuclei.SPLITS", {"train": 5})

    again = read_nuclei(16)["train"]

    np.testing.assert_array_equal(again.y, nuclei.y_train[:5])
    correlation = np.corrcoef(again.x.ravel(), nuclei.x_train[:5].ravel())[0, 1]
    assert correlation == pytest.approx(1.0)  # only standardised since


def test_a_scene_is_the_same_at_any_side():
    _, small = scenes(32)
    _, large = scenes(128)

    shares = large.reshape(-1, 32, 4, 32, 4).mean((2, 4))
    assert np.abs(shares - small)[(shares == 0) | (shares == 1)].max() == 0
    assert np.abs(shares.mean((1, 2)) - small.mean((1, 2))).max() < 0.02


def test_masks_hold_a_part_of_every_image_and_are_brighter_than_the_rest():
    light, mask = scenes(64, n=40)

    shares = mask.mean((1, 2))
    assert 0.02 < shares.min() < shares.mean() < 0.2
    assert shares.max() < 0.5
    inside = [a[b == 1].mean() > a[b == 0].mean() for a, b in zip(light, mask, strict=True)]
    assert np.mean(inside) > 0.8


def test_brightness_alone_does_not_tell_nuclei(nuclei):
    # The best threshold on single pixels is far from a good mask: networks need their view.
    x, y = nuclei.x_train.ravel(), nuclei.y_train.ravel().astype(bool)

    scores = [((x > t) & y).sum() / ((x > t) | y).sum() for t in np.linspace(-1, 4, 60)]

    assert 0.2 < max(scores) < 0.5


def test_the_border_of_an_ellipse_has_distance_one():
    ellipse = _Ellipse(0.4, 0.6, (0.2, 0.1), np.pi / 2)

    found = ellipse.distance(np.array([0.4, 0.6]), np.array([0.6, 0.7]))

    np.testing.assert_allclose(found, [[0.0, 1.0], [1.0, 2.0]], atol=1e-12)


@pytest.mark.parametrize("side", [8, 513])
def test_a_side_out_of_range_is_refused(side):
    with pytest.raises(DataError, match=f"16 to 512 pixels, not {side}"):
        read_nuclei(side)
