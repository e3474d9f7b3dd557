"""Running statistics of a network, averaged over images (Once-for-All's recalibration)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from hwnas.lowering.torch_module import Normalise
from hwnas.lowering.torch_operators import Normalisation

__all__ = ["CALIBRATION_BATCH", "Statistics", "average_statistics"]

Statistics = dict[str, Tensor]
"""Running means and variances of one network, by the names it gives them."""

CALIBRATION_BATCH = 64  # images in one pass; larger ones leave the cache and are slower on CPU


@torch.no_grad()
def average_statistics(
    run: Callable[[Tensor, Normalise], object], images: Tensor, batch_size: int = CALIBRATION_BATCH
) -> Statistics:
    """Mean over the images of the batch means and batch variances of every normalisation.

    Each batch is normalised by its own statistics and weighs as much as it has images. Nothing is
    written into the network, so the same call gives the same result.

    Args:
        run: Runs the network on a batch with a stand-in for its batch normalisations.
        images: `(n, c, h, w)`.
        batch_size: Images in one pass.
    """
    total: Statistics = {}

    def record(which: Normalisation, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        mean, variance = _moments(x)
        for name, value in ((which.mean, mean), (which.variance, variance)):
            share = value * (len(x) / len(images))
            total[name] = total[name] + share if name in total else share
        return functional.batch_norm(x, mean, variance, scale, bias, eps=which.epsilon)

    for batch in torch.split(images, batch_size):
        run(batch, record)
    return total


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every channel."""
    if x.device.type == "cpu":  # three times as fast there as `var_mean` over several axes
        mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
        return mean, variance
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    return mean, variance
