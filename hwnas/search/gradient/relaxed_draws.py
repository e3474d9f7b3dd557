"""Weights of options from architecture parameters, with or without chance, differentiable.

References:
    [Liu19] Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, eq. 2.
    [Che21] Chen et al., DrNAS: Dirichlet Neural Architecture Search, ICLR 2021, eq. 3.
    [Don19] Dong and Yang, Searching for a Robust Neural Architecture in Four GPU Hours, CVPR 2019.
    [Koo19] Kool et al., Stochastic Beams and Where to Find Them, ICML 2019, sec. 2.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "DRAWS",
    "dirichlet_weights",
    "gumbel_one_hot",
    "gumbel_top_hot",
    "softmax_weights",
]


def softmax_weights(parameters: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """`softmax(a / temperature)`, without chance; at temperature 1 that of [Liu19].

    Args:
        parameters: `(k,)`.
        generator: Unused.
        temperature: Towards 0 the weights become one-hot.
    """
    del generator
    return (parameters / temperature).softmax(0)


def dirichlet_weights(
    parameters: Tensor, generator: torch.Generator, temperature: float
) -> Tensor:
    """A draw from a Dirichlet distribution of concentration `elu(a) + 1` [Che21].

    The gradient is that of the implicit reparameterisation of its gamma variables.

    Args:
        parameters: `(k,)`.
        generator: Source of chance.
        temperature: Unused.
    """
    del temperature
    concentration = functional.elu(parameters) + 1.0
    gamma = torch._standard_gamma(concentration, generator=generator).clamp(min=1e-30)
    return gamma / gamma.sum()


def gumbel_one_hot(parameters: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """A one-hot draw with probabilities `softmax(a)` and the gradient of its relaxation [Don19].

    Args:
        parameters: `(k,)`.
        generator: Source of chance.
        temperature: Of the relaxation.
    """
    return gumbel_top_hot(parameters, 1, generator, temperature)


def gumbel_top_hot(
    parameters: Tensor, count: int, generator: torch.Generator, temperature: float
) -> Tensor:
    """Weights of 1 for distinct entries drawn one after another, without replacement [Koo19].

    In value the `count` largest of `log softmax(a) + g`, with Gumbel noise g, are 1 and the others
    0; the gradient is that of `softmax((log softmax(a) + g) / temperature)`.

    Args:
        parameters: `(k,)`, or `(n, k)` for one draw a row.
        count: How many, at most k.
        generator: Source of chance.
        temperature: Of the relaxation.
    """
    noise = torch.empty_like(parameters).exponential_(generator=generator).log().neg()
    scores = parameters.log_softmax(-1) + noise
    soft = (scores / temperature).softmax(-1)
    chosen = scores.detach().topk(count, -1).indices
    hard = torch.zeros_like(soft).scatter(-1, chosen, 1.0)
    # The difference first: `hard + soft - soft` is not exactly 0 or 1.
    return hard + (soft - soft.detach())


Draw = Callable[[Tensor, torch.Generator, float], Tensor]

#: Name -> parameters `(k,)`, source of chance and temperature to weights `(k,)`, of sum 1.
DRAWS: dict[str, Draw] = {
    "dirichlet": dirichlet_weights,
    "gumbel": gumbel_one_hot,
    "softmax": softmax_weights,
}
