"""CIFAR-10 and CIFAR-100 from their original files, the binary or the Python version.

Files: Krizhevsky, Learning multiple layers of features from tiny images, 2009,
https://www.cs.toronto.edu/~kriz/cifar.html. The Python version is a set of pickles; they are read
as data (`pickle_stream`), nothing in them runs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.datasets.image_readers import Labelled
from hwnas.datasets.pickle_stream import read_pickled_dict
from hwnas.errors import DataError

__all__ = ["read_cifar10", "read_cifar100"]

_SIDE = 32
_PIXELS = 3 * _SIDE**2  # the red, the green and the blue plane, row by row
_MAX_IMAGES = 100_000  # in one file; the largest original has 50,000
_MAX_PICKLE_BYTES = 2 * _MAX_IMAGES * _PIXELS

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class _Version:
    """One archive: its folder and its files."""

    title: str
    folder: str
    train: tuple[str, ...]
    test: str
    classes: int
    label_bytes: int = 0  # before the pixels of a binary record, the last is the label
    label_key: str = ""  # in the dictionary of a Python batch


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_CIFAR10 = (
    _Version(
        "CIFAR-10",
        "cifar-10-batches-bin",
        tuple(f"{name}.bin" for name in _BATCHES),
        "test_batch.bin",
        classes=10,
        label_bytes=1,
    ),
    _Version(
        "CIFAR-10", "cifar-10-batches-py", _BATCHES, "test_batch", classes=10, label_key="labels"
    ),
)
_CIFAR100 = (
    _Version(
        "CIFAR-100", "cifar-100-binary", ("train.bin",), "test.bin", classes=100, label_bytes=2
    ),
    _Version(
        "CIFAR-100", "cifar-100-python", ("train",), "test", classes=100, label_key="fine_labels"
    ),
)


def read_cifar10(path: str) -> dict[str, Labelled]:
    """CIFAR-10: 50,000 training and 10,000 test images of 10 classes.

    Args:
        path: Folder with `data_batch_1.bin` and so on, or `data_batch_1` and so on, or its
            parent. Where both versions are there, the binary one is read.

    Raises:
        DataError: A batch is missing, malformed or has another size.
    """
    return _read(path, "cifar10", _CIFAR10)


def read_cifar100(path: str) -> dict[str, Labelled]:
    """CIFAR-100 with its 100 fine classes.

    Args:
        path: Folder with `train.bin` and `test.bin`, or `train` and `test`, or its parent.

    Raises:
        DataError: As for `read_cifar10`.
    """
    return _read(path, "cifar100", _CIFAR100)


def _read(path: str, kind: str, versions: tuple[_Version, ...]) -> dict[str, Labelled]:
    hint = (
        f"unpack the binary or the Python version of {versions[0].title} from "
        f"https://www.cs.toronto.edu/~kriz/cifar.html and give the folder "
        f"{' or '.join(version.folder for version in versions)}"
    )
    if not Path(path).is_dir():
        raise DataError(f"{kind}:{path} is not a folder; {hint}")
    for version in versions:
        for folder in (Path(path), Path(path) / version.folder):
            if (folder / version.test).is_file():
                return {
                    "train": _images(version, folder, version.train, hint),
                    "test": _images(version, folder, (version.test,), hint),
                }
    tests = " nor ".join(version.test for version in versions)
    raise DataError(f"{kind}:{path} holds neither {tests}; {hint}")


def _images(version: _Version, folder: Path, names: tuple[str, ...], hint: str) -> Labelled:
    batches = []
    for name in names:
        file = folder / name
        if not file.is_file():
            raise DataError(f"{file} is missing; {hint}")
        pixels, y = (_binary_batch if version.label_bytes else _python_batch)(file, version, hint)
        if y.min() < 0 or y.max() >= version.classes:
            raise DataError(
                f"{file} has labels from {y.min()} to {y.max()}; those of {version.title} are 0 "
                f"to {version.classes - 1}"
            )
        batches.append((pixels, y))
    x = np.concatenate([pixels for pixels, _ in batches]).reshape(-1, 3, _SIDE, _SIDE)
    scaled = x.astype(np.float32)
    scaled /= np.float32(255)
    return Labelled(
        scaled,
        np.concatenate([y for _, y in batches]),
        version.classes,
        f"{version.title} (Krizhevsky, 2009), {'binary' if version.label_bytes else 'Python'} "
        "version",
    )


def _binary_batch(file: Path, version: _Version, hint: str) -> Batch:
    record = version.label_bytes + _PIXELS
    size = file.stat().st_size
    if size == 0 or size % record or size > _MAX_IMAGES * record:
        raise DataError(f"{file} has {size} bytes, not a multiple of {record}; {hint}")
    records = np.fromfile(file, dtype=np.uint8).reshape(-1, record)
    labels = records[:, version.label_bytes - 1].astype(np.int64)
    return records[:, version.label_bytes :], labels


def _python_batch(file: Path, version: _Version, hint: str) -> Batch:
    size = file.stat().st_size
    if size > _MAX_PICKLE_BYTES:
        raise DataError(f"{file} has {size} bytes, no batch has more than {_MAX_PICKLE_BYTES}")
    entries = read_pickled_dict(file.read_bytes(), str(file))
    pixels, labels = entries.get("data"), entries.get(version.label_key)
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (_PIXELS,):
        found = getattr(pixels, "shape", type(pixels).__name__)
        raise DataError(f"{file}: 'data' is {found}, not (n, {_PIXELS}) bytes; {hint}")
    if (
        not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(isinstance(label, int) and abs(label) < 2**31 for label in labels)
    ):
        raise DataError(
            f"{file}: {version.label_key!r} is not a list of {len(pixels)} integers; {hint}"
        )
    return pixels, np.array(labels, dtype=np.int64)
