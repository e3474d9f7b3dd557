"""Labelled images in three splits: what a supernet is trained, searched and finally judged on.

Training images set the shared weights and the statistics of batch norms, validation images steer
the search, test images are looked at once, at the end. Images are float32 `(n, c, h, w)`,
standardised with the mean and deviation of the training split. Labels are int64 from 0, one an
image; for segmentation they are masks, uint8 `(n, 1, h, w)` of 0 and 1.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.datasets.cifar import read_cifar10, read_cifar100
from hwnas.datasets.image_readers import (
    Labelled,
    check_size,
    read_digits,
    read_folder,
    read_npz,
)
from hwnas.datasets.nuclei import read_nuclei
from hwnas.errors import DataError, HwnasError
from hwnas.graph import shape_of
from hwnas.spaces import SearchSpace

__all__ = [
    "AUGMENTATIONS",
    "TASK_NAMES",
    "Dataset",
    "load_dataset",
    "load_dataset_for",
    "split_dataset",
]

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[Any]

SPLIT_SEED = 1  # which image is in which split never changes with the seed of a run
VALIDATION_SHARE = 0.2
TEST_SHARE = 0.2
AUGMENTATIONS = ("shapes", "photographs", "symmetries", "none")
TASK_NAMES: tuple[str, ...] = ("classification", "segmentation")

_BLOCK = 2**22  # values that are standardised at a time: the arithmetic is in float64


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits of one set of labelled images.

    Args:
        name: As in the `--data` argument.
        x_train: `(n, c, h, w)`.
        y_train: `(n,)`, from 0 to `classes - 1`; masks for segmentation.
        x_val: As `x_train`.
        y_val: As `y_train`.
        x_test: As `x_train`.
        y_test: As `y_train`.
        classes: Number of classes; 1 for segmentation, where all but background is foreground.
        split: How the three splits were made, in words.
        source: Origin and licence.
        augmentation: Which random changes keep the meaning of the training images, a name in
            `hwnas.datasets.augmentation`: `shapes` for bright figures on a dark ground, which may
            be moved but not mirrored; `photographs`, which may be mirrored and hidden in part;
            `symmetries` for images without up and down; `none`.
        task: What networks are to tell, a name in `hwnas.datasets.task`.

    Raises:
        DataError: A split is empty, of the wrong shape or type, not finite, or has a label out of
            range, or the augmentation or task is unknown.
    """

    name: str
    x_train: Images
    y_train: Labels
    x_val: Images
    y_val: Labels
    x_test: Images
    y_test: Labels
    classes: int
    split: str
    source: str
    augmentation: str = "none"
    task: str = "classification"

    def __post_init__(self) -> None:
        if self.augmentation not in AUGMENTATIONS:
            raise DataError(
                f"{self.name}: unknown augmentation {self.augmentation!r}; available: "
                f"{', '.join(AUGMENTATIONS)}"
            )
        if self.task not in TASK_NAMES:
            raise DataError(
                f"{self.name}: unknown task {self.task!r}; available: {', '.join(TASK_NAMES)}"
            )
        shape, masked = self.x_train.shape[1:], self.task == "segmentation"
        kind = np.dtype(np.uint8 if masked else np.int64)
        for part in ("train", "val", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            wanted = (*x.shape[:1], 1, *x.shape[2:]) if masked else x.shape[:1]
            if x.ndim != 4 or y.shape != wanted or x.shape[1:] != shape:
                raise DataError(
                    f"{self.name}: split {part!r} has images {x.shape} and labels {y.shape}; give "
                    f"(n, c, h, w) and {'(n, 1, h, w)' if masked else '(n,)'}, of one image size "
                    "in all splits"
                )
            if not len(x):
                raise DataError(f"{self.name}: split {part!r} is empty; give more images")
            if x.dtype != np.float32 or y.dtype != kind:
                raise DataError(
                    f"{self.name}: split {part!r} has types {x.dtype} and {y.dtype}; "
                    f"give float32 and {kind}"
                )
            if not np.isfinite(x).all():
                raise DataError(f"{self.name}: split {part!r} holds values that are not finite")
            if masked and y.max() > 1:
                raise DataError(
                    f"{self.name}: split {part!r} has masks with values up to {y.max()}; "
                    "foreground is 1, background 0"
                )
            if not masked and (y.min() < 0 or y.max() >= self.classes):
                raise DataError(
                    f"{self.name}: split {part!r} has labels from {y.min()} to {y.max()}; "
                    f"{self.classes} classes are numbered 0 to {self.classes - 1}"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, c, h, w = self.x_train.shape
        return c, h, w

    def check_network(self, taken: tuple[int, ...], result: tuple[int, ...]) -> None:
        """Check that a network fits.

        Args:
            taken: Shape of its input, the batch axis first.
            result: Shape of its result.

        Raises:
            DataError: It does not.
        """
        gives = tuple(result[1:])
        if self.task == "segmentation" and (len(gives) != 3 or gives[0] != 1):
            raise DataError(
                f"{self.name} is for segmentation and wants a map of logits (1, height, width); "
                f"the network gives {gives}: choose another space, such as unet"
            )
        if self.task == "classification" and len(gives) != 1:
            raise DataError(
                f"{self.name} is for classification and wants one logit a class; the network "
                f"gives {gives}: choose another space, or data for segmentation such as nuclei"
            )
        if tuple(taken[1:]) != self.image_shape:
            raise DataError(
                f"{self.name} has images of {self.image_shape} (channels, height, width), the "
                f"network takes {tuple(taken[1:])}; choose a space of that image side"
            )
        if self.task == "segmentation" and gives[1:] != self.image_shape[1:]:
            raise DataError(
                f"{self.name} has masks of {self.image_shape[1:]}, the network gives {gives[1:]}"
            )
        if self.task == "classification" and gives[0] < self.classes:
            raise DataError(
                f"{self.name} has {self.classes} classes, the network tells {gives[0]} apart"
            )


def load_dataset(spec: str, *, resolution: int = 32) -> Dataset:
    """Load a data set.

    Augmentation is `shapes` for `digits`, `photographs` for CIFAR and folders, `symmetries` for
    `nuclei`; else `shapes` for images of one channel and `photographs` for others. All but
    `nuclei`, and what a callable says, are for classification.

    Args:
        spec: `digits`, `nuclei`, `npz:FILE`, `cifar10:DIR`, `cifar100:DIR`, `folder:DIR` or
            `package.module:callable`. The callable takes no argument and returns a `Dataset`, a
            `torch.utils.data.Dataset` of (image, label), or several of those by split
            (`torch_datasets.read_torch`).
        resolution: Side in pixels to which `digits` and `folder:` scale their images, and at which
            `nuclei` are drawn.

    Raises:
        DataError: There is no such data set, a file or an item is missing or malformed, a callable
            raised an error, or a class has too few images to be split.
    """
    kind, colon, rest = spec.partition(":")
    if kind == "digits" and not colon:
        return _prepared(read_digits(resolution), spec)
    if kind == "nuclei" and not colon:
        return _prepared(read_nuclei(resolution), spec)
    readers: dict[str, Callable[[str], Labelled | dict[str, Labelled]]] = {
        "npz": read_npz,
        "cifar10": read_cifar10,
        "cifar100": read_cifar100,
        "folder": lambda path: read_folder(path, resolution),
    }
    if kind in readers:
        if not rest:
            raise DataError(f"{spec!r} names no path; write {kind}:PATH")
        return _prepared(readers[kind](rest), spec)
    if colon and "." in kind:
        found = _called(spec, kind, rest)
        if isinstance(found, Dataset):
            return found
        from hwnas.datasets.torch_datasets import read_torch  # torch is slow to import

        return _prepared(read_torch(found, spec), spec)
    raise DataError(
        f"unknown data set {spec!r}; available: digits, nuclei, npz:FILE, cifar10:DIR, "
        "cifar100:DIR, folder:DIR, package.module:callable"
    )


def load_dataset_for(space: SearchSpace, spec: str) -> Dataset:
    """Load a data set at the image side that the largest network of a space takes.

    Grey images of a space that takes more channels stand in each of them.

    Args:
        space: The space.
        spec: As `load_dataset` takes it.

    Raises:
        DataError: As `load_dataset`; whether the images fit is not checked here.
    """
    _, channels, _, side = shape_of(space.network(space.largest()).inputs[0])
    found = load_dataset(spec, resolution=side)
    if found.image_shape[0] != 1 or channels == 1:
        return found
    images = [np.repeat(x, channels, axis=1) for x in (found.x_train, found.x_val, found.x_test)]
    return replace(found, x_train=images[0], x_val=images[1], x_test=images[2])


def split_dataset(labelled: Labelled, name: str) -> Dataset:
    """Split 60/20/20, every class in the same proportion, always in the same way.

    Args:
        labelled: All images.
        name: Name of the data set.

    Raises:
        DataError: A class has fewer than 5 images, so that a split would miss it.
    """
    train, rest = _take(labelled.y, VALIDATION_SHARE + TEST_SHARE, labelled.classes, name)
    val, test = _halves(rest)
    x, y = labelled.x, labelled.y
    return Dataset(
        name,
        *(x[train], y[train], x[val], y[val], x[test], y[test]),
        classes=labelled.classes,
        split=f"stratified, {len(train)} train, {len(val)} validation, {len(test)} test, "
        f"split seed {SPLIT_SEED}",
        source=labelled.source,
    )


def _take(
    y: Labels, share: float, classes: int, name: str
) -> tuple[npt.NDArray[np.intp], list[npt.NDArray[np.intp]]]:
    """Indices that stay, sorted, and the `share` of each class that is taken out."""
    rng = np.random.default_rng(SPLIT_SEED)
    kept, taken = [], []
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(y == label))
        count = round(share * len(members))
        if count < 2 or count >= len(members):
            raise DataError(
                f"{name}: class {label} has {len(members)} images; a split into train, validation "
                "and test needs at least 5 of each class"
            )
        kept.append(members[count:])
        taken.append(members[:count])
    return np.sort(np.concatenate(kept)), taken


def _halves(
    groups: list[npt.NDArray[np.intp]],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Every group in two; odd ones favour one half and the other in turn."""
    first: list[npt.NDArray[np.intp]] = []
    second: list[npt.NDArray[np.intp]] = []
    for group in groups:
        lead = sum(len(part) for part in first) <= sum(len(part) for part in second)
        cut = (len(group) + lead) // 2
        first.append(group[:cut])
        second.append(group[cut:])
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def _given_splits(parts: dict[str, Labelled], name: str) -> Dataset:
    """Data that comes with a train and a test split, and perhaps a validation split."""
    train, test = parts["train"], parts["test"]
    classes = max(part.classes for part in parts.values())
    if "val" in parts:
        val = parts["val"]
        split = "as given"
    else:
        kept, taken = _take(train.y, VALIDATION_SHARE, classes, name)
        out = np.sort(np.concatenate(taken))
        val = replace(train, x=train.x[out], y=train.y[out])
        train = replace(train, x=train.x[kept], y=train.y[kept])
        split = f"test as given, validation: a fifth of train, split seed {SPLIT_SEED}"
    counts = f"{len(train.y)} train, {len(val.y)} validation, {len(test.y)} test"
    return Dataset(
        name,
        *(train.x, train.y, val.x, val.y, test.x, test.y),
        classes=classes,
        split=f"{split}; {counts}",
        source=train.source,
        task=train.task,
    )


def _prepared(found: Labelled | dict[str, Labelled], name: str) -> Dataset:
    """Split, standardised, with the augmentation that suits images of that many channels."""
    split = (
        split_dataset(found, name) if isinstance(found, Labelled) else _given_splits(found, name)
    )
    augmentation = "shapes" if split.image_shape[0] == 1 else "photographs"
    if split.task == "segmentation":
        augmentation = "symmetries"
    return replace(_standardised(split), augmentation=augmentation)


def _standardised(dataset: Dataset) -> Dataset:
    x = dataset.x_train
    step = max(1, _BLOCK // x[0].size)
    values = x.size // x.shape[1]  # of one channel

    def blocks(images: Images) -> Iterator[Images]:
        return (images[start : start + step] for start in range(0, len(images), step))

    def average(parts: Iterable[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        sums = [part.sum(axis=(0, 2, 3), dtype=np.float64) for part in parts]
        return np.asarray(np.sum(sums, axis=0) / values)[:, None, None]

    mean = average(blocks(x))
    deviation = np.sqrt(average((block - mean) ** 2 for block in blocks(x)))
    scale = 1.0 / np.where(deviation > 0, deviation, 1.0)  # a constant channel becomes 0

    def apply(images: Images) -> Images:
        result = np.empty_like(images)
        for target, block in zip(blocks(result), blocks(images), strict=True):
            target[:] = (block - mean) * scale
        return result

    return replace(
        dataset, x_train=apply(x), x_val=apply(dataset.x_val), x_test=apply(dataset.x_test)
    )


def _called(spec: str, module: str, attribute: str) -> object:
    """What the callable returns; a `Dataset` is not too large."""
    try:
        factory: Any = importlib.import_module(module)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise DataError(f"data set {spec!r} cannot be imported: {error}") from error
    if not callable(factory):
        raise DataError(f"data set {spec!r} is a {type(factory).__name__}, not a callable")
    try:
        found: object = factory()
    except HwnasError:
        raise
    except Exception as error:  # of code that is not ours
        raise DataError(f"data set {spec!r} raised {type(error).__name__}: {error}") from error
    if isinstance(found, Dataset):
        check_size(found.x_train.size + found.x_val.size + found.x_test.size, f"{spec!r}")
    return found
