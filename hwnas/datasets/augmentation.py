"""Random changes of a batch of training images that keep what the images show."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import DataError

__all__ = [
    "AnyAugmentation",
    "Augmentation",
    "PhotographAugmentation",
    "SymmetryAugmentation",
    "augmentation_for",
    "augmented",
]


@dataclass(frozen=True)
class Augmentation:
    """How far images may be moved; each amount is drawn uniformly from both directions.

    Args:
        shift: Share of the image's side.
        rotation: Degrees.
        scale: Share of the image's size.
        shear: Slope.
    """

    shift: float = 0.08
    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.1

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Moved copies of the images, `(n, c, h, w)`.

        What moves in from outside has the least value of the batch, which is the background of
        dark images.

        Args:
            images: `(n, c, h, w)`.
            generator: The only source of chance; it may be of another device than the images.
        """
        n = len(images)
        drawn = torch.rand((6, n), generator=generator, device=generator.device) * 2.0 - 1.0
        drawn = drawn.to(images.device)
        angle = drawn[0] * (self.rotation * pi / 180.0)
        zoom_x, zoom_y = (1.0 + self.scale * drawn[i] for i in (1, 2))
        slope = self.shear * drawn[3]
        shift_x, shift_y = (2.0 * self.shift * drawn[i] for i in (4, 5))
        cos, sin = angle.cos(), angle.sin()
        theta = torch.stack(
            [
                torch.stack([cos * zoom_x, (slope * cos - sin) * zoom_x, shift_x], 1),
                torch.stack([sin * zoom_y, (slope * sin + cos) * zoom_y, shift_y], 1),
            ],
            1,
        )
        low = images.min()
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        return functional.grid_sample(images - low, grid, align_corners=False) + low


@dataclass(frozen=True)
class PhotographAugmentation:
    """Random crop, mirror image and cutout, for colour photographs of things.

    Every image is padded and cut back to its size at a random place, mirrored left to right or
    not, and then covered by one square whose centre is any pixel, so that part of the square may
    lie outside (DeVries and Taylor, Improved regularization of convolutional neural networks with
    cutout, arXiv 1708.04552, 2017, section 3.2). The defaults are those for CIFAR-10 at 32x32
    pixels there: padding by 4 pixels, a square of 16.

    Differs from the paper: what the crop brings in from outside is 0, the mean of standardised
    images, as is the square; there it is black.

    Args:
        shift: Padding of each side, as a share of it, from 0 to 1.
        flip: Probability of the mirror image.
        cutout: Side of the square, as a share of the image's, from 0 to 1.

    Raises:
        DataError: A share is out of range.
    """

    shift: float = 0.125
    flip: float = 0.5
    cutout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("shift", "flip", "cutout"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise DataError(f"{name} of {getattr(self, name)} is not a share from 0 to 1")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Changed copies of the images, `(n, c, h, w)`.

        Args:
            images: `(n, c, h, w)`, standardised.
            generator: The only source of chance; it may be of another device than the images.
        """
        n, _, height, width = images.shape

        def drawn(end: int) -> Tensor:
            whole = torch.randint(end, (n, 1), generator=generator, device=generator.device)
            return whole.to(images.device)

        shares = torch.rand((n, 1), generator=generator, device=generator.device)
        mirrored = shares.to(images.device) < self.flip
        row, column = (torch.arange(side, device=images.device) for side in (height, width))
        pad_y, pad_x = (round(self.shift * side) for side in (height, width))
        rows = row + drawn(2 * pad_y + 1)
        columns = torch.where(mirrored, column.flip(0), column) + drawn(2 * pad_x + 1)
        padded = functional.pad(images, (pad_x, pad_x, pad_y, pad_y))
        index = torch.arange(n, device=images.device)[:, None, None]
        # Channels last in the gather: the indices of one pixel fetch all its channels.
        cropped = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
        hidden_rows = self._hidden(row, drawn(height))
        hidden_columns = self._hidden(column, drawn(width))
        hidden = hidden_rows[:, None, :, None] & hidden_columns[:, None, None, :]
        return cropped.permute(0, 3, 1, 2).masked_fill(hidden, 0.0).contiguous()

    def _hidden(self, positions: Tensor, centre: Tensor) -> Tensor:
        """Which positions of a side the square covers, `(n, side)`."""
        length = round(self.cutout * len(positions))
        start = centre - length // 2
        return (positions >= start) & (positions < start + length)


@dataclass(frozen=True)
class SymmetryAugmentation:
    """One of the eight symmetries of a square for every image: mirror images and quarter turns.

    For images that have no up and down, such as those of microscopes. Pixels are moved, never
    mixed, so that masks stay exact.

    Raises:
        DataError: Images are not square.
    """

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Turned and mirrored copies of the images, `(n, c, side, side)`.

        Args:
            images: `(n, c, side, side)`.
            generator: The only source of chance; it may be of another device than the images.
        """
        if images.shape[2] != images.shape[3]:
            raise DataError(f"images of {tuple(images.shape[2:])} cannot be turned: not square")
        drawn = torch.randint(8, (len(images),), generator=generator, device=generator.device)
        which = drawn.to(images.device)
        result = images
        for bit, change in enumerate((_mirrored, _upside_down, _transposed)):
            chosen = (which >> bit & 1).bool()[:, None, None, None]
            result = torch.where(chosen, change(result), result)
        return result


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(3)


def _upside_down(images: Tensor) -> Tensor:
    return images.flip(2)


def _transposed(images: Tensor) -> Tensor:
    return images.transpose(2, 3)


AnyAugmentation = Augmentation | PhotographAugmentation | SymmetryAugmentation


def augmented(
    augmentation: AnyAugmentation, images: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Changed images with their labels; masks are changed as their images are.

    Args:
        augmentation: The random changes.
        images: `(n, c, h, w)`.
        labels: `(n,)`, or masks `(n, 1, h, w)` of 0 and 1.
        generator: The only source of chance.
    """
    if labels.ndim == 1:
        return augmentation(images, generator), labels
    channels = images.shape[1]
    both = augmentation(torch.cat([images, labels.to(images.dtype)], 1), generator)
    masks = both[:, channels:] > 0.5  # what comes in from outside is 0 or less: background
    return both[:, :channels], masks.to(labels.dtype)


def augmentation_for(name: str) -> AnyAugmentation | None:
    """Random changes that suit images of one sort.

    Args:
        name: As in `Dataset.augmentation`: `shapes`, `photographs`, `symmetries` or `none`.

    Returns:
        None for `none`.

    Raises:
        DataError: The name is unknown.
    """
    known: dict[str, AnyAugmentation | None] = {
        "shapes": Augmentation(),
        "photographs": PhotographAugmentation(),
        "symmetries": SymmetryAugmentation(),
        "none": None,
    }
    if name not in known:
        raise DataError(f"unknown augmentation {name!r}; available: {', '.join(known)}")
    return known[name]
