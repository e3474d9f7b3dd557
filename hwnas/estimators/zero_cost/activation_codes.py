"""NASWOT: how differently a network's rectifiers switch for different images."""

import torch
from torch import Tensor

from hwnas.estimators.zero_cost.untrained_network import UntrainedNetwork

__all__ = ["RECTIFIERS", "naswot"]

RECTIFIERS = ("Clip", "HardSwish", "Relu")
"""Operators that are (nearly) off below zero."""


def naswot(network: UntrainedNetwork) -> float:
    """Logarithm of |det K|; K counts for each pair of images the units that switch alike.

    A unit is one element of an input of a rectifier; it is on above zero. Mellor et al., Neural
    Architecture Search without Training, ICML 2021, eq. 2. Minus infinity if two images switch
    all units alike.
    """
    images = network.images
    kernel = torch.zeros((len(images), len(images)), dtype=torch.float64, device=network.device)

    def count(x: Tensor) -> None:
        code = (x.detach() > 0).flatten(1).to(torch.float32)
        both = (code @ code.T).double()  # whole numbers below 2^24: exact
        on = both.diagonal()
        kernel.add_(code.shape[1] - on[:, None] - on[None, :] + 2.0 * both)

    with torch.no_grad():
        network.outputs(images, plan=network.plan.observed(RECTIFIERS, count))
    return float(torch.linalg.slogdet(kernel.cpu()).logabsdet)
