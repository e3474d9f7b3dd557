"""The gradient of a validation loss through one step of the weights, by finite differences.

Liu et al., DARTS: Differentiable Architecture Search, ICLR 2019, eq. 6 to 8. With
`w' = w - xi d(w, a)` for the step d of the weights' optimiser,

    dL_val(w', a)/da - xi [dL_train(w+, a)/da - dL_train(w-, a)/da] / (2 eps),
    w+- = w +- eps v,   v = dL_val(w', a)/dw',   eps = 0.01 / |v|.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["unrolled_gradient"]

DISTANCE = 0.01  # |w+ - w|; Liu et al., sec. 2.3

_Loss = Callable[[], Tensor]
_Gradients = Sequence[Tensor | None]


def unrolled_gradient(
    training_loss: _Loss,
    validation_loss: _Loss,
    weights: Sequence[Tensor],
    architecture: Tensor,
    step: Callable[[_Gradients], _Gradients],
    rate: float,
) -> tuple[Tensor, Tensor]:
    """Gradient for the architecture, and the validation loss after the step, both detached.

    The weights have their old values afterwards, to the bit.

    Args:
        training_loss: L_train at the current weights and architecture.
        validation_loss: L_val at the same.
        weights: Changed in place in between. Those that a loss does not use stay.
        architecture: What the gradient is for.
        step: Gradients of the training loss to the step d of the optimiser; None where there is
            none. What it adds to the gradient must not depend on the architecture.
        rate: xi; 0 is the first-order gradient.
    """
    before = [weight.detach().clone() for weight in weights]

    def move(direction: _Gradients, distance: float) -> None:
        with torch.no_grad():
            for weight, start, part in zip(weights, before, direction, strict=True):
                weight.copy_(start)
                if part is not None:
                    weight.add_(part, alpha=distance)

    def architecture_gradient() -> Tensor:
        (found,) = torch.autograd.grad(training_loss(), [architecture], allow_unused=True)
        return torch.zeros_like(architecture) if found is None else found

    try:
        if rate != 0.0:
            first = torch.autograd.grad(training_loss(), weights, allow_unused=True)
            move(step(first), -rate)
        loss = validation_loss()
        direct, *ahead = torch.autograd.grad(loss, [architecture, *weights], allow_unused=True)
        gradient = torch.zeros_like(architecture) if direct is None else direct
        norm = sum(float(part.square().sum()) for part in ahead if part is not None) ** 0.5
        if rate != 0.0 and norm > 0.0:
            epsilon = DISTANCE / norm
            move(ahead, epsilon)
            above = architecture_gradient()
            move(ahead, -epsilon)
            gradient = gradient - rate * (above - architecture_gradient()) / (2.0 * epsilon)
    finally:
        move([None] * len(before), 0.0)
    return gradient, loss.detach()
