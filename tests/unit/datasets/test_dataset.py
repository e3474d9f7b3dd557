"""Data sets: fixed splits, and an error that says what to do for everything malformed."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from hwnas.datasets.dataset import Dataset, load_dataset, load_dataset_for
from hwnas.datasets.image_readers import MAX_ELEMENTS
from hwnas.errors import DataError
from hwnas.spaces import get_space


def save(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def rows(images):
    return {image.tobytes() for image in images}


def test_digits_are_split_60_20_20_without_overlap_and_standardised():
    digits = load_dataset("digits")

    counts = [len(x) for x in (digits.x_train, digits.x_val, digits.x_test)]
    assert counts == [1078, 360, 359]
    assert digits.image_shape == (1, 32, 32)
    assert digits.x_train.mean() == pytest.approx(0, abs=1e-5)
    assert digits.x_train.std() == pytest.approx(1, abs=1e-4)
    assert not rows(digits.x_train) & (rows(digits.x_val) | rows(digits.x_test))
    for y in (digits.y_train, digits.y_val, digits.y_test):
        shares = np.bincount(y) / len(y)
        assert abs(shares - 0.1).max() < 0.01


def test_digits_are_the_same_each_time():
    np.testing.assert_array_equal(load_dataset("digits").x_val, load_dataset("digits").x_val)


def test_digits_can_have_another_side():
    assert load_dataset("digits", resolution=20).image_shape == (1, 20, 20)
    with pytest.raises(DataError, match="8 to 128"):
        load_dataset("digits", resolution=4)


def test_an_npz_file_is_split_and_scaled(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (50, 6, 6), dtype=np.uint8)
    spec = save(tmp_path / "a.npz", x=x, y=np.arange(50) % 5)

    found = load_dataset(spec)

    assert found.image_shape == (1, 6, 6)
    assert found.classes == 5
    assert (len(found.y_train), len(found.y_val), len(found.y_test)) == (30, 10, 10)


def test_an_npz_file_with_splits_keeps_them(tmp_path):
    rng = np.random.default_rng(0)
    parts = {f"x_{part}": rng.random((20, 3, 4, 4)) for part in ("train", "test")}
    parts |= {f"y_{part}": np.arange(20) % 2 for part in ("train", "test")}

    found = load_dataset(save(tmp_path / "a.npz", **parts))

    assert (len(found.y_train), len(found.y_val), len(found.y_test)) == (16, 4, 20)
    assert "test as given" in found.split


IMAGES = np.zeros((20, 4, 4), np.float32)
LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, "no 'y'"),
        ({"x": IMAGES, "y": LABELS[:5]}, "give"),
        ({"x": IMAGES[0], "y": LABELS}, "give"),
        ({"x": IMAGES, "y": LABELS - 1}, "from -1"),
        ({"x": IMAGES, "y": LABELS * 10**6}, "labels run"),
        ({"x": IMAGES, "y": LABELS.astype(float)}, "integer labels"),
        ({"x": IMAGES.astype(str), "y": LABELS}, "give numbers"),
        ({"x": IMAGES, "y": np.array([0] * 19 + [1])}, "class 1 has 1 images"),
        ({"x": IMAGES, "y": LABELS * 2}, "class 1 has 0 images"),
        ({"x": np.full_like(IMAGES, np.nan), "y": LABELS}, "not finite"),
        ({"x": np.array([None] * 20), "y": LABELS}, "npz"),
    ],
)
def test_malformed_npz_files_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        load_dataset(save(tmp_path / "a.npz", **arrays))


def test_an_array_of_absurd_size_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros(8, np.uint8), y=LABELS)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (MAX_ELEMENTS + 1,), (0,))
    import zipfile

    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as stream:
        header = np.lib.format.header_data_from_array_1_0(huge)
        np.lib.format.write_array_header_1_0(stream, header)

    with pytest.raises(DataError, match="at most"):
        load_dataset(f"npz:{path}")


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"hello")

    with pytest.raises(DataError, match="not a file of NumPy arrays"):
        load_dataset(f"npz:{path}")


@pytest.mark.parametrize("kind", ["npz", "cifar10", "cifar100", "folder"])
def test_missing_paths_are_refused(kind, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        load_dataset(f"{kind}:{tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="names no path"):
        load_dataset(f"{kind}:")


@pytest.mark.parametrize("spec", ["mnist", "", "digits:8", "no.such.module:f", "math.nothing:f"])
def test_unknown_data_sets_are_refused(spec):
    with pytest.raises(DataError):
        load_dataset(spec)


def test_a_folder_of_images_has_a_class_for_each_sub_folder(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(6):
            Image.new("L", (9, 7), 20 * i).save(tmp_path / label / f"{i}.png")

    found = load_dataset(f"folder:{tmp_path}", resolution=8)

    assert found.image_shape == (3, 8, 8)
    assert found.classes == 2
    (tmp_path / "cat" / "0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"0\.png"):
        load_dataset(f"folder:{tmp_path}", resolution=8)


@pytest.fixture
def module(monkeypatch):
    """An importable module without content."""
    found = types.ModuleType("my.images")
    monkeypatch.setitem(sys.modules, "my", types.ModuleType("my"))
    monkeypatch.setitem(sys.modules, "my.images", found)
    return found


def test_a_callable_may_bring_its_own_data_set(module):
    digits = load_dataset("digits")
    module.good = lambda: digits
    module.bad = lambda: 3

    assert load_dataset("my.images:good") is digits
    with pytest.raises(DataError, match="is a int"):
        load_dataset("my.images:bad")


def test_the_error_of_a_callable_is_named(module):
    def broken():
        raise KeyError("where")

    module.broken = broken

    with pytest.raises(DataError, match="raised KeyError: 'where'"):
        load_dataset("my.images:broken")


def test_a_callable_may_bring_a_torch_data_set(module):
    x, y = torch.rand(40, 3, 4, 4), torch.arange(40) % 2
    module.whole = lambda: TensorDataset(x, y)
    module.parts = lambda: {"train": TensorDataset(x, y), "test": TensorDataset(x[:10], y[:10])}

    whole, parts = (load_dataset(f"my.images:{name}") for name in ("whole", "parts"))

    assert [len(y) for y in (whole.y_train, whole.y_val, whole.y_test)] == [24, 8, 8]
    assert [len(y) for y in (parts.y_train, parts.y_val, parts.y_test)] == [32, 8, 10]
    assert whole.x_train.mean(axis=(0, 2, 3)) == pytest.approx(0, abs=1e-5)
    np.testing.assert_array_equal(parts.y_test, y[:10])


def test_standardising_in_blocks_is_that_of_the_whole(monkeypatch, tmp_path):
    x = np.random.default_rng(0).random((50, 3, 4, 4)) * 9 - 5
    spec = save(tmp_path / "a.npz", x=x, y=np.arange(50) % 5)
    whole = load_dataset(spec)

    monkeypatch.setattr("hwnas.datasets.dataset._BLOCK", 7 * 48)
    blocks = load_dataset(spec)

    assert whole.x_train.std(axis=(0, 2, 3)) == pytest.approx(1, abs=1e-5)
    for part in ("x_train", "x_val", "x_test"):
        np.testing.assert_allclose(getattr(whole, part), getattr(blocks, part), atol=1e-6)


def test_the_augmentation_suits_the_images(tmp_path):
    grey = save(tmp_path / "grey.npz", x=np.zeros((20, 4, 4)), y=np.arange(20) % 2)
    colour = save(tmp_path / "colour.npz", x=np.zeros((20, 3, 4, 4)), y=np.arange(20) % 2)

    assert load_dataset("digits").augmentation == "shapes"
    assert load_dataset(grey).augmentation == "shapes"
    assert load_dataset(colour).augmentation == "photographs"


@pytest.mark.parametrize(
    "change",
    [
        {"x_val": np.zeros((0, 1, 4, 4), np.float32), "y_val": np.zeros(0, np.int64)},
        {"x_val": np.zeros((4, 1, 5, 5), np.float32)},
        {"y_val": np.full(4, 9)},
        {"y_val": np.zeros(4, np.int32)},
        {"augmentation": "mirrors"},
    ],
)
def test_a_malformed_data_set_is_refused(change):
    x, y = np.zeros((4, 1, 4, 4), np.float32), np.zeros(4, np.int64)
    parts = {f"x_{p}": x for p in ("train", "val", "test")}
    parts |= {f"y_{p}": y for p in ("train", "val", "test")}

    with pytest.raises(DataError):
        Dataset(name="mine", **({"classes": 2, "split": "", "source": ""} | parts | change))


def masked(**changes):
    x, y = np.zeros((2, 1, 4, 4), np.float32), np.zeros((2, 1, 4, 4), np.uint8)
    parts = {"x_train": x, "y_train": y, "x_val": x, "y_val": y, "x_test": x, "y_test": y}
    return Dataset(
        "mine", **(parts | changes), classes=1, split="", source="", task="segmentation"
    )


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (np.zeros(2, np.int64), r"give \(n, c, h, w\) and \(n, 1, h, w\)"),
        (np.zeros((2, 1, 4, 2), np.uint8), r"give \(n, c, h, w\) and \(n, 1, h, w\)"),
        (np.zeros((2, 1, 4, 4), np.int64), "give float32 and uint8"),
        (np.full((2, 1, 4, 4), 255, np.uint8), "values up to 255; foreground is 1, background 0"),
    ],
)
def test_malformed_masks_are_refused(masks, message):
    with pytest.raises(DataError, match=message):
        masked(y_val=masks)


def test_an_unknown_task_is_refused():
    digits = load_dataset("digits", resolution=8)

    with pytest.raises(DataError, match="unknown task 'counting'; available: classification"):
        replace(digits, task="counting")


@pytest.mark.parametrize(
    ("taken", "result", "message"),
    [
        ((1, 1, 4, 4), (1, 10), "such as unet"),
        ((1, 1, 4, 4), (1, 2, 4, 4), r"gives \(2, 4, 4\)"),
        ((1, 1, 4, 4), (1, 1, 2, 2), r"masks of \(4, 4\), the network gives \(2, 2\)"),
        ((1, 1, 8, 8), (1, 1, 8, 8), "choose a space of that image side"),
    ],
)
def test_a_network_that_gives_no_mask_of_the_images_is_refused(taken, result, message):
    with pytest.raises(DataError, match=message):
        masked().check_network(taken, result)


def test_a_network_that_gives_a_mask_is_refused_for_classes():
    digits = load_dataset("digits", resolution=16)

    with pytest.raises(DataError, match=r"digits is for classification .* such as nuclei"):
        digits.check_network((1, 1, 16, 16), (1, 1, 16, 16))


def test_grey_images_fill_the_channels_that_a_space_takes():
    space = get_space("resnet9@16")

    found = load_dataset_for(space, "digits")

    grey = load_dataset("digits", resolution=16)
    assert found.image_shape == (3, 16, 16)
    for split in ("train", "val", "test"):
        x, wanted = getattr(found, f"x_{split}"), getattr(grey, f"x_{split}")
        np.testing.assert_array_equal(x, np.broadcast_to(wanted, x.shape))
    assert found.augmentation == "shapes"
