"""Jacobian covariance: how differently a network reacts to changes of different images."""

import torch

from hwnas.estimators.zero_cost.untrained_network import UntrainedNetwork

__all__ = ["jacobian_covariance"]

_SMALL = 1e-5  # keeps logarithm and quotient finite, as in the reference


def jacobian_covariance(network: UntrainedNetwork) -> float:
    """Minus the sum over v of log(v + k) + 1 / (v + k), k = 1e-5.

    The v are the eigenvalues of the correlation matrix of the images' gradients, those of the sum
    of all outputs. Mellor et al., Neural Architecture Search without Training, first version 2020.
    Largest, about minus the number of images, where no two gradients are correlated.
    """
    images = network.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network.outputs(images).sum(), images)
    correlation = torch.corrcoef(gradient.flatten(1).double().cpu())
    if not bool(torch.isfinite(correlation).all()):
        return float("-inf")
    values = torch.linalg.eigvalsh(correlation).clamp(min=0.0) + _SMALL
    return -float((values.log() + 1.0 / values).sum())
