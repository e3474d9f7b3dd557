"""Images at the side that a network takes, for spaces that decide on it.

Data sets come at the side of the largest network; smaller networks see them scaled down.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from hwnas.supernet.datasets import Dataset

__all__ = ["fit_dataset", "fit_images"]


def fit_images(images: Tensor, side: tuple[int, int]) -> Tensor:
    """Images of another side, bilinear and antialiased; the images themselves if they have it.

    Args:
        images: `(n, c, h, w)`.
        side: Height and width.
    """
    if tuple(images.shape[2:]) == side:
        return images
    return functional.interpolate(images, side, mode="bilinear", antialias=True)


def fit_dataset(dataset: Dataset, side: tuple[int, int]) -> Dataset:
    """All splits of a data set at another side."""
    if dataset.image_shape[1:] == side:
        return dataset
    parts = {
        name: fit_images(torch.from_numpy(getattr(dataset, name)), side).numpy()
        for name in ("x_train", "x_val", "x_test")
    }
    return replace(dataset, **parts)
