"""Labelled images out of map-style data sets, as `torch.utils.data.Dataset` defines them."""

import operator
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from hwnas.datasets.image_readers import MAX_CLASSES, Labelled, check_size
from hwnas.errors import DataError

__all__ = ["MapStyle", "read_torch"]

SPLITS = ("train", "val", "test")


@runtime_checkable
class MapStyle(Protocol):
    """A data set with a length, whose items are (image, label).

    An image is a tensor `(c, h, w)`, or what `numpy.asarray` turns into `(h, w, c)` or `(h, w)`,
    such as a picture of Pillow. Values are uint8, of which 255 is 1, or floating point. A label is
    an integer from 0.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def read_torch(found: object, what: str) -> Labelled | dict[str, Labelled]:
    """Images of one data set, or of each of its splits.

    Every item is read once, so that a random transform in the data set is frozen as it fell:
    give the data set without it, training changes the images by itself.

    Args:
        found: A map-style data set, to be split; or a dict with `train`, `test` and perhaps `val`;
            or a tuple of train and test.
        what: Name of it in messages.

    Raises:
        DataError: It is something else, has too many values, or an item is malformed; the message
            has its index.
    """
    if isinstance(found, tuple):
        if len(found) != 2:
            raise DataError(
                f"{what} returned a tuple of {len(found)}; give (train, test), or a dict with "
                "train, test and perhaps val"
            )
        found = dict(zip(("train", "test"), found, strict=True))
    if not isinstance(found, Mapping):
        labelled = _Reader(what).read(found)
        return labelled
    names = {str(name) for name in found}
    if not {"train", "test"} <= names <= set(SPLITS):
        raise DataError(
            f"{what} returned splits {sorted(names)}; give train, test and perhaps val"
        )
    return _Reader(what).read_all({name: found[name] for name in SPLITS if name in names})


class _Reader:
    """Reads splits of one image size, which together fit in memory."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.elements = 0

    def read_all(self, splits: dict[str, object]) -> dict[str, Labelled]:
        name = self.what
        result = {}
        for split, dataset in splits.items():
            self.what = f"{name}, split {split!r}"
            result[split] = self.read(dataset)
        return result

    def read(self, dataset: object) -> Labelled:
        if not isinstance(dataset, MapStyle):
            raise DataError(
                f"{self.what} is a {type(dataset).__name__}; give a Dataset of "
                "hwnas.datasets.dataset, or a torch data set with a length and items"
            )
        try:
            count = len(dataset)
        except Exception as error:  # of code that is not ours
            raise DataError(f"{self.what} has no length: {error}") from error
        if count < 1:
            raise DataError(f"{self.what} is empty; give more images")
        first, _ = self._item(dataset, 0)
        self.elements += count * first.size
        check_size(self.elements, self.what)
        x = np.empty((count, *first.shape), dtype=np.float32)
        y = np.empty(count, dtype=np.int64)
        for index in range(count):
            image, y[index] = self._item(dataset, index)
            if image.shape != first.shape:
                raise DataError(
                    f"{self.what}: image {index} is {image.shape} (channels, height, width), "
                    f"image 0 is {first.shape}; scale all images to one size"
                )
            x[index] = image
        return Labelled(x, y, int(y.max()) + 1, f"items of {self.what}")

    def _item(self, dataset: MapStyle, index: int) -> tuple[npt.NDArray[np.float32], int]:
        try:
            item = dataset[index]
        except Exception as error:  # of code that is not ours
            raise DataError(
                f"{self.what}: item {index} cannot be read: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(
                f"{self.what}: item {index} is a {type(item).__name__}, not (image, label)"
            )
        where = f"{self.what}: item {index}"
        return _image(item[0], where), _label(item[1], where)


def _image(image: Any, where: str) -> npt.NDArray[np.float32]:
    """Channels first, float32."""
    if isinstance(image, torch.Tensor):
        array = image.detach().cpu().numpy() if image.dtype != torch.bfloat16 else None
        if array is None or array.ndim != 3:
            raise DataError(
                f"{where} has an image of {tuple(image.shape)}, {image.dtype}; give (channels, "
                "height, width) of uint8 or floating point"
            )
    else:
        if getattr(image, "mode", None) == "P":
            raise DataError(f"{where} is a picture with a palette; convert it to RGB")
        try:
            array = np.asarray(image)
        except Exception as error:  # of code that is not ours
            raise DataError(f"{where} has an image that is no array: {error}") from error
        if array.ndim not in (2, 3):
            raise DataError(
                f"{where} has an image of {array.shape}; give (height, width, channels)"
            )
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(f"{where} has an image of {array.dtype}; give uint8 or floating point")
    if not array.size:
        raise DataError(f"{where} has an image without pixels, {array.shape}")
    values = array.astype(np.float32)
    if array.dtype == np.uint8:
        return values / np.float32(255)
    if not np.isfinite(values).all():
        raise DataError(f"{where} has an image with values that are not finite")
    return values


def _label(label: Any, where: str) -> int:
    try:
        value = operator.index(label)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{where} has a label of type {type(label).__name__}, {str(label)[:40]!r}; labels "
            "are integers from 0"
        ) from error
    if not 0 <= value < MAX_CLASSES:
        raise DataError(f"{where} has label {value}; classes are 0 to at most {MAX_CLASSES - 1}")
    return value
