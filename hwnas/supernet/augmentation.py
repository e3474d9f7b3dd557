"""Small random shifts, turns and scalings of a batch of images, for training."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Augmentation"]


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
            generator: The only source of chance.
        """
        n = len(images)
        drawn = torch.rand((6, n), generator=generator) * 2.0 - 1.0
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
