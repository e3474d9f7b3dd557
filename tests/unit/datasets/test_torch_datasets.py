"""Map-style data sets: what an image may be, and the index of an item that is none."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, TensorDataset

from hwnas.datasets import image_readers
from hwnas.datasets.torch_datasets import read_torch
from hwnas.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)


class Items(TorchDataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        item = self.items[index]
        if isinstance(item, Exception):
            raise item
        return item


@pytest.mark.parametrize(
    "make",
    [
        lambda pixels: torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
        lambda pixels: torch.from_numpy(pixels.transpose(2, 0, 1) / np.float32(255)),
        lambda pixels: pixels,
        lambda pixels: pixels / 255.0,
        Image.fromarray,
    ],
)
@pytest.mark.parametrize("label", [int, np.int16, torch.tensor, lambda i: np.array(i)])
def test_every_form_of_an_image_gives_the_same(make, label):
    found = read_torch(Items([(make(p), label(i % 2)) for i, p in enumerate(PIXELS)]), "mine")

    assert found.x.dtype == np.float32
    np.testing.assert_allclose(found.x, PIXELS.transpose(0, 3, 1, 2) / 255, atol=1e-6)
    assert found.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert found.classes == 2


def test_grey_pictures_have_one_channel():
    grey = Image.fromarray(PIXELS[0, :, :, 0])

    assert read_torch(Items([(grey, 0)]), "mine").x.shape == (1, 1, 4, 5)


def test_splits_may_be_a_dict_or_a_pair():
    train, test = (TensorDataset(torch.rand(n, 1, 2, 2), torch.arange(n)) for n in (4, 3))

    pair = read_torch((train, test), "mine")
    named = read_torch({"test": test, "train": train, "val": test}, "mine")

    assert {name: len(part.y) for name, part in pair.items()} == {"train": 4, "test": 3}
    assert {name: len(part.y) for name, part in named.items()} == {"train": 4, "val": 3, "test": 3}


GOOD = (PIXELS[0], 1)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((PIXELS[0, :3], 1), r"image 2 is \(3, 3, 5\).*image 0 is \(3, 4, 5\)"),
        ((PIXELS[0], 1.0), "item 2 has a label of type float"),
        ((PIXELS[0], "cat"), "item 2 has a label of type str, 'cat'"),
        ((PIXELS[0], torch.tensor([1, 0])), "item 2 has a label of type Tensor"),
        ((PIXELS[0], torch.tensor(1.0)), "item 2 has a label of type Tensor"),
        ((PIXELS[0], -1), "item 2 has label -1"),
        ((PIXELS[0], 10**6), "item 2 has label 1000000"),
        ((PIXELS[0].astype(np.int64), 1), "item 2 has an image of int64"),
        ((PIXELS[0] * np.nan, 1), "item 2 has an image with values that are not finite"),
        ((torch.zeros(4, 5), 1), "item 2 has an image of"),
        ((torch.zeros(3, 4, 5, dtype=torch.bfloat16), 1), "bfloat16"),
        ((PIXELS, 1), "item 2 has an image of"),
        ((PIXELS[:0, 0], 1), "item 2 has an image without pixels"),
        ((Image.fromarray(PIXELS[0]).convert("P"), 1), "item 2 is a picture with a palette"),
        (PIXELS[0], "item 2 is a ndarray"),
        (OSError("no such file"), "item 2 cannot be read: OSError: no such file"),
    ],
)
def test_a_bad_item_is_named_by_its_index(item, message):
    with pytest.raises(DataError, match=message):
        read_torch(Items([GOOD, GOOD, item]), "mine")


def test_a_bad_item_of_a_split_is_named_by_the_split():
    bad = Items([GOOD, (PIXELS[0], None)])

    with pytest.raises(DataError, match="split 'test': item 1"):
        read_torch({"train": Items([GOOD]), "test": bad}, "mine")


class Stream(IterableDataset):
    def __iter__(self):
        yield GOOD


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Stream(), "mine"),
        (Items([]), "is empty"),
        (3, "is a int"),
        ((Items([GOOD]),) * 3, "a tuple of 3"),
        ({"train": Items([GOOD])}, "give train, test"),
        ({"train": Items([GOOD]), "test": Items([GOOD]), "more": 1}, "give train, test"),
    ],
)
def test_what_is_no_data_set_is_refused(found, message):
    with pytest.raises(DataError, match=message):
        read_torch(found, "mine")


class Endless(Items):
    def __len__(self):
        return 10**15


def test_data_sets_that_do_not_fit_are_refused_before_they_are_read(monkeypatch):
    with pytest.raises(DataError, match="at most"):
        read_torch(Endless([GOOD]), "mine")
    monkeypatch.setattr(image_readers, "MAX_ELEMENTS", 100)
    assert len(read_torch(Items([GOOD]), "mine").y) == 1
    with pytest.raises(DataError, match="at most 100"):
        read_torch((Items([GOOD]), Items([GOOD])), "mine")
