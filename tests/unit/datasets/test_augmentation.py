"""Random changes of images: what they may do to each image, and only by the given generator."""

import pytest
import torch

from hwnas.datasets.augmentation import (
    Augmentation,
    PhotographAugmentation,
    SymmetryAugmentation,
    augmentation_for,
    augmented,
)
from hwnas.datasets.dataset import AUGMENTATIONS
from hwnas.errors import DataError

CHANGES = [Augmentation(), PhotographAugmentation(), SymmetryAugmentation()]


def generator(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def numbered(n, side=8, channels=2):
    """Images whose pixels are all different and positive."""
    values = torch.arange(1.0, n * channels * side**2 + 1)
    return values.reshape(n, channels, side, side)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_name_of_a_data_set_has_its_augmentation(name):
    assert (augmentation_for(name) is None) == (name == "none")


def test_an_unknown_name_is_refused():
    with pytest.raises(DataError, match="available: shapes, photographs, symmetries, none"):
        augmentation_for("mirrors")


@pytest.mark.parametrize("change", CHANGES)
def test_the_generator_is_the_only_chance(change):
    images = torch.rand(6, 3, 12, 12, generator=generator())
    before = images.clone()
    torch.manual_seed(1)
    state = torch.get_rng_state()

    first, same, other = (change(images, generator(seed)) for seed in (3, 3, 4))

    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_both_devices_give_the_same_images(change):
    images = torch.rand(6, 3, 12, 12, generator=generator())

    there = change(images.cuda(), generator())

    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), change(images, generator()))


def test_nothing_changes_without_any_change():
    images = numbered(4)

    assert torch.equal(PhotographAugmentation(0, 0, 0)(images, generator()), images)


def test_the_mirror_image_is_taken_of_half_the_images():
    images = numbered(400, side=3)

    changed = PhotographAugmentation(0, 0.5, 0)(images, generator())

    mirrored = (changed == images.flip(3)).flatten(1).all(1)
    assert (mirrored | (changed == images).flatten(1).all(1)).all()
    assert 150 < mirrored.sum() < 250
    always = PhotographAugmentation(0, 1, 0)(images, generator())
    assert torch.equal(always, images.flip(3))


def test_a_crop_is_a_part_of_the_padded_image_at_any_place():
    images = numbered(300, side=8)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))

    changed = PhotographAugmentation(0.125, 0, 0)(images, generator())

    places = {(y, x): padded[:, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)}
    counts = [(changed == part).flatten(1).all(1).sum().item() for part in places.values()]
    assert sum(counts) == 300
    assert min(counts) > 10


def test_a_cutout_is_one_square_that_may_lie_partly_outside():
    side, length = 8, 4
    images = numbered(300, side)

    changed = PhotographAugmentation(0, 0, 0.5)(images, generator())

    hidden = (changed == 0).all(1)
    assert torch.equal(changed, images.masked_fill(hidden[:, None], 0))
    heights, widths = hidden.any(2).sum(1), hidden.any(1).sum(1)
    assert torch.equal(hidden.sum((1, 2)), heights * widths)  # one rectangle
    assert heights.max() == widths.max() == length
    assert heights.min() == widths.min() == length // 2
    assert hidden.any(0).all()


def test_images_need_not_be_square_and_keep_their_type():
    images = torch.rand(5, 3, 6, 10, dtype=torch.float64, generator=generator())

    changed = PhotographAugmentation()(images, generator())

    assert changed.shape == images.shape
    assert changed.dtype == images.dtype


@pytest.mark.parametrize("shares", [(-0.1, 0, 0), (0, 2, 0), (0, 0, float("nan"))])
def test_shares_out_of_range_are_refused(shares):
    with pytest.raises(DataError, match="share from 0 to 1"):
        PhotographAugmentation(*shares)


def test_symmetries_are_the_eight_of_a_square_and_all_occur():
    image = numbered(1, side=5)
    symmetries = [image.rot90(k, (2, 3)) for k in range(4)]
    symmetries += [turned.flip(3) for turned in symmetries]

    changed = SymmetryAugmentation()(image.repeat(200, 1, 1, 1), generator())

    seen = [[torch.equal(each[None], one) for one in symmetries].index(True) for each in changed]
    assert set(seen) == set(range(8))


def test_images_that_are_not_square_cannot_be_turned():
    with pytest.raises(DataError, match="not square"):
        SymmetryAugmentation()(torch.rand(1, 1, 4, 6, generator=generator()), generator())


@pytest.mark.parametrize("change", CHANGES)
def test_masks_move_with_their_images_and_what_comes_in_is_background(change):
    shown = torch.rand(40, 1, 24, 24, generator=generator(1))
    masks = (shown > 0.7).to(torch.uint8)
    images = masks * 2.0 - 1.0

    moved, found = augmented(change, images, masks, generator(2))

    assert found.dtype == torch.uint8
    assert found.unique().tolist() == [0, 1]
    assert not torch.equal(found, masks)
    bright = moved > 0.5
    assert not (bright & (found == 0)).any()


def test_labels_of_whole_images_stay_as_they_are():
    images, labels = numbered(3), torch.tensor([2, 0, 1])

    moved, found = augmented(SymmetryAugmentation(), images, labels, generator())

    assert found is labels
    assert torch.equal(moved, SymmetryAugmentation()(images, generator()))
