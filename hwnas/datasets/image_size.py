"""Images at the side that a network takes, for spaces that decide on it.

Data sets come at the side of the largest network; smaller networks see them scaled down.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.datasets.dataset import Dataset

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

    def fitted(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = fit_images(torch.from_numpy(images), side).numpy()
        return found

    return replace(
        dataset,
        x_train=fitted(dataset.x_train),
        x_val=fitted(dataset.x_val),
        x_test=fitted(dataset.x_test),
    )
