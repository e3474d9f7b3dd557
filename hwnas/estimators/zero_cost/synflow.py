"""SynFlow: how much weight lies on the paths from input to output."""

import torch
from torch import Tensor

from hwnas.estimators.zero_cost.untrained_network import UntrainedNetwork
from hwnas.lowering.torch_operators import Normalisation

__all__ = ["synflow"]


def synflow(network: UntrainedNetwork) -> float:
    """Logarithm of the sum of |w dR/dw| over all kernels.

    R is the sum of the outputs for an image of ones, with every weight replaced by its absolute
    value and no normalisation. Tanaka et al., Pruning neural networks without any data by
    iteratively conserving synaptic flow, NeurIPS 2020, eq. 2; summed over a network as in
    Abdelfattah et al., ICLR 2021. In double precision: deep networks reach 1e49.
    """
    weights = {name: w.detach().abs().double() for name, w in network.weights.items()}
    kernels = [weights[name].requires_grad_() for name in network.kernels]
    ones = torch.ones((1, *network.image_shape), dtype=torch.float64, device=network.device)
    flow = network.outputs(ones, weights, normalise=_identity).sum()
    gradients = torch.autograd.grad(flow, kernels, allow_unused=True)
    terms = [
        (w.detach() * g).abs().sum()
        for w, g in zip(kernels, gradients, strict=True)
        if g is not None
    ]
    return float(torch.stack(terms).sum().log())


def _identity(which: Normalisation, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    del which, scale, bias
    return x.clone()  # what comes next may work in place
