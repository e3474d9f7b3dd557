"""Labelled images from files; sizes are checked before anything is read, nothing runs code."""

import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import DataError

__all__ = [
    "MAX_CLASSES",
    "MAX_ELEMENTS",
    "Labelled",
    "check_size",
    "read_digits",
    "read_folder",
    "read_npz",
]

MAX_ELEMENTS = 2**30  # 4 GiB of float32: data sets are held in memory
MAX_CLASSES = 10_000

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images as they were read, `(n, c, h, w)`, with labels `(n,)` from 0, or with masks."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[Any]
    classes: int
    source: str
    task: str = "classification"


def read_digits(resolution: int) -> Labelled:
    """scikit-learn's 1,797 handwritten digits, scaled bilinearly from 8x8 pixels.

    Args:
        resolution: Side of the result in pixels, from 8 to 128.

    Raises:
        DataError: The side is out of range.
    """
    if not 8 <= resolution <= 128:
        raise DataError(f"digits can be scaled to 8 to 128 pixels, not {resolution}")
    from sklearn.datasets import load_digits  # slow to import, needed here only

    found = load_digits()
    rows = _bilinear(8, resolution)
    x = np.einsum("ri,nij,cj->nrc", rows, found.images / 16.0, rows)[:, None]
    return Labelled(
        np.ascontiguousarray(x, dtype=np.float32),
        found.target.astype(np.int64),
        10,
        "Optical Recognition of Handwritten Digits, test part (Alpaydin and Kaynak, UCI, 1998, "
        "CC BY 4.0), as shipped with scikit-learn",
    )


def read_npz(path: str) -> Labelled | dict[str, Labelled]:
    """Arrays `x` and `y`, or `x_train`, `y_train` and so on for `test` and perhaps `val`.

    Images are `(n, c, h, w)`, or `(n, h, w)` for one channel; integers are divided by 255.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing, not an npz file, holds objects, is too large, or lacks an
            array.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"npz:{path} is not a file; give an existing .npz file")
    _check_npz_sizes(file)
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = set(archive.files)
            parts = [part for part in ("train", "val", "test") if f"x_{part}" in names]
            if {"train", "test"} <= set(parts):
                return {
                    part: _from_arrays(archive, f"x_{part}", f"y_{part}", path) for part in parts
                }
            return _from_arrays(archive, "x", "y", path)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"npz:{path} cannot be read: {error}") from error


def read_folder(path: str, resolution: int) -> Labelled:
    """One sub-folder of images a class, scaled to a square, in RGB.

    Args:
        path: The folder; classes are numbered in the order of their names.
        resolution: Side of the result in pixels.

    Raises:
        DataError: Pillow is not installed, the folder is missing or has fewer than two classes, or
            an image cannot be read.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError("folder: needs Pillow to read images; pip install pillow") from error
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"folder:{path} is not a folder; give one with a sub-folder a class")
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if len(classes) < 2:
        raise DataError(
            f"folder:{path} has {len(classes)} sub-folders; give one sub-folder of images a class"
        )
    files = [
        (file, label)
        for label, entry in enumerate(classes)
        for file in sorted(entry.iterdir())
        if file.suffix.lower() in _SUFFIXES
    ]
    check_size(len(files) * 3 * resolution**2, f"folder:{path}")
    x = np.empty((len(files), 3, resolution, resolution), dtype=np.float32)
    for index, (file, _) in enumerate(files):
        try:
            with Image.open(file) as image:
                scaled = image.convert("RGB").resize((resolution, resolution))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(f"{file} cannot be read as an image: {error}") from error
        x[index] = np.asarray(scaled, dtype=np.float32).transpose(2, 0, 1) / 255.0
    y = np.array([label for _, label in files], dtype=np.int64)
    return Labelled(x, y, len(classes), f"images in {folder.resolve()}")


def _bilinear(inputs: int, outputs: int) -> npt.NDArray[np.float64]:
    """Matrix that interpolates a row of pixels, `(outputs, inputs)`, edges repeated."""
    position = np.clip((np.arange(outputs) + 0.5) * inputs / outputs - 0.5, 0, inputs - 1)
    low = np.minimum(position.astype(int), inputs - 2)
    share = position - low
    matrix = np.zeros((outputs, inputs))
    matrix[np.arange(outputs), low] = 1 - share
    matrix[np.arange(outputs), low + 1] = share
    return matrix


def check_size(elements: int, what: str) -> None:
    """Check that so many values can be held in memory.

    Args:
        elements: Number of values.
        what: What has them.

    Raises:
        DataError: They are more than `MAX_ELEMENTS`.
    """
    if elements > MAX_ELEMENTS:
        raise DataError(f"{what} has {elements} values; at most {MAX_ELEMENTS} are held in memory")


def _check_npz_sizes(file: Path) -> None:
    """Read only the headers of the arrays: a small file can claim a huge array."""
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    version = np.lib.format.read_magic(stream)
                    header = (
                        np.lib.format.read_array_header_1_0
                        if version == (1, 0)
                        else np.lib.format.read_array_header_2_0
                    )
                    shape, _, _ = header(stream)
                elements = 1
                for side in shape:
                    elements *= int(side)
                check_size(elements, f"array {member.filename!r} of npz:{file}")
    except DataError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, tokenize.TokenError) as error:
        raise DataError(f"npz:{file} is not a file of NumPy arrays: {error}") from error


def _from_arrays(archive: np.lib.npyio.NpzFile, x_name: str, y_name: str, path: str) -> Labelled:
    missing = [name for name in (x_name, y_name) if name not in archive.files]
    if missing:
        raise DataError(
            f"npz:{path} has arrays {sorted(archive.files)} and no {missing[0]!r}; "
            "give x and y, or x_train, y_train, x_test, y_test"
        )
    x, y = archive[x_name], archive[y_name]
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or y.ndim != 1 or len(x) != len(y) or not len(x):
        raise DataError(
            f"npz:{path}: {x_name} is {x.shape} and {y_name} is {y.shape}; give (n, c, h, w) or "
            "(n, h, w), and (n,)"
        )
    if x.dtype.kind not in "uif" or y.dtype.kind not in "ui":
        raise DataError(
            f"npz:{path}: {x_name} is {x.dtype} and {y_name} is {y.dtype}; give numbers, and "
            "integer labels"
        )
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= MAX_CLASSES:
        raise DataError(
            f"npz:{path}: labels run from {low} to {high}; number classes from 0, at most "
            f"{MAX_CLASSES}"
        )
    scale = 255.0 if x.dtype.kind in "ui" else 1.0
    images = np.ascontiguousarray(x, dtype=np.float32) / np.float32(scale)
    return Labelled(images, y.astype(np.int64), high + 1, f"arrays in {Path(path).resolve()}")
