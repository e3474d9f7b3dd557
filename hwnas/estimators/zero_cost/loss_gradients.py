"""Proxies that read the gradient of the loss at the initial weights: SNIP, gradient norm, ZiCo."""

import torch

from hwnas.estimators.zero_cost.untrained_network import BATCHES, UntrainedNetwork

__all__ = ["gradient_norm", "snip", "zico"]


def snip(network: UntrainedNetwork) -> float:
    """Sum of |w dL/dw| over all kernels.

    Lee, Ajanthan and Torr, SNIP, ICLR 2019, eq. 4; summed over a network as in Abdelfattah et al.,
    Zero-Cost Proxies for Lightweight NAS, ICLR 2021.
    """
    terms = [
        (network.weights[k].detach() * g).abs().sum() for k, g in network.loss_gradients.items()
    ]
    return float(torch.stack(terms).sum())


def gradient_norm(network: UntrainedNetwork) -> float:
    """Sum over kernels of the Euclidean norm of dL/dw (Abdelfattah et al., ICLR 2021)."""
    norms = [torch.linalg.vector_norm(g) for g in network.loss_gradients.values()]
    return float(torch.stack(norms).sum())


def zico(network: UntrainedNetwork) -> float:
    """Sum over kernels of log(sum of mean |g| / standard deviation of g) over batches.

    Li et al., ZiCo, ICLR 2023, eq. 15. Weights whose gradient is the same in all batches, and
    kernels of which nothing is left, do not count.

    Differs from the paper: the deviation is that of signed gradients, as in the authors' code.
    """
    batches = [network.loss_gradients]
    batches += [network.gradients_of_batch(index) for index in range(1, BATCHES)]
    score = 0.0
    for kernel in network.kernels:
        gradients = torch.stack([batch[kernel] for batch in batches])
        deviation = gradients.std(0, correction=0)
        mean = gradients.abs().mean(0)
        ratios = torch.where(deviation > 0.0, mean / deviation, 0.0)
        total = float(ratios.double().sum())
        score += float(torch.tensor(total).log()) if total > 0.0 else 0.0
    return score
