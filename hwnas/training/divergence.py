"""Alpha-divergences between a teacher p and a student q, and losses that follow them.

    D_a(p || q) = (sum_i q_i (p_i / q_i)^a - 1) / (a (a - 1))

with the limits KL(q || p) at a = 0 and KL(p || q) at a = 1. A negative a weighs where the student
spreads further than the teacher, a positive one where the student misses what the teacher holds
likely. Everything is computed from r = log p - log q: neither ratios nor powers overflow, and the
small differences near the two limits are kept.

References:
    Wang et al., AlphaNet: Improved Training of Supernets with Alpha-Divergence, ICML 2021.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["adaptive_divergence_loss", "alpha_divergence", "divergence_loss"]

ALPHA_LOW, ALPHA_HIGH, WEIGHT_CLIP = -1.0, 1.0, 5.0  # of the release of AlphaNet


@torch.no_grad()
def alpha_divergence(
    logits: Tensor, teacher: Tensor, alpha: float, weight_clip: float | None = None
) -> Tensor:
    """Divergence of every sample, `(n,)`; 0 exactly where both distributions are the same.

    Args:
        logits: Of the student, `(n, classes)`.
        teacher: Logits of the teacher, `(n, classes)`.
        alpha: Any number; 0 and 1 are the two Kullback-Leibler divergences.
        weight_clip: Largest value of the weight (p / q)^alpha; None for no limit. The limits 0
            and 1 have logarithms in place of the weight and are not clipped.
    """
    log_q, log_p, ratio = _logarithms(logits, teacher)
    if alpha == 1.0:
        return (log_p.exp() * ratio).sum(1)
    if alpha == 0.0:
        return -(log_q.exp() * ratio).sum(1)
    cap = math.inf if weight_clip is None else math.log(weight_clip)
    if alpha > 0.5:  # sum_i p_i ((p_i / q_i)^(a - 1) - 1): exact near 1
        exponent = torch.minimum((alpha - 1.0) * ratio, cap - ratio)
        terms = _weighted_growth(log_p, exponent)
    else:
        terms = _weighted_growth(log_q, (alpha * ratio).clamp(max=cap))
    return terms.sum(1) / (alpha * (alpha - 1.0))


def divergence_loss(
    logits: Tensor, teacher: Tensor, alpha: float, weight_clip: float | None = None
) -> Tensor:
    """The divergence of every sample as a loss for the student, `(n,)`.

    Its gradient is that of - sum_i c_i log q_i with constant c_i = q_i ((p_i / q_i)^a - 1) / a,
    the weights clipped. Subtracting 1 changes no gradient, for q sums to 1, and gives the limit
    c_i = q_i log(p_i / q_i) at a = 0; at a = 1 it is the gradient of soft cross-entropy.

    Args:
        logits: Of the student, `(n, classes)`.
        teacher: Logits of the teacher; they get no gradient.
        alpha: Any number.
        weight_clip: Largest value of the weight, in the value as in the gradient, as in
            `alpha_divergence`.
    """
    log_q, log_p, ratio = _logarithms(logits, teacher)
    with torch.no_grad():
        if alpha == 0.0:
            share = log_q.exp() * ratio
        elif alpha == 1.0:
            share = log_p.exp() - log_q.exp()
        else:
            cap = math.inf if weight_clip is None else math.log(weight_clip)
            share = _weighted_growth(log_q, (alpha * ratio).clamp(max=cap)) / alpha
    followed = -(share * log_q).sum(1)
    value = alpha_divergence(logits, teacher, alpha, weight_clip)
    return value + (followed - followed.detach())


def adaptive_divergence_loss(
    logits: Tensor,
    teacher: Tensor,
    alpha_low: float = ALPHA_LOW,
    alpha_high: float = ALPHA_HIGH,
    weight_clip: float | None = WEIGHT_CLIP,
) -> Tensor:
    """Mean over the samples of the larger of two divergences; the gradient is that one's.

    Args:
        logits: Of the student, `(n, classes)`.
        teacher: Logits of the teacher; they get no gradient.
        alpha_low: Punishes a student that spreads too far.
        alpha_high: Punishes a student that misses what the teacher holds likely.
        weight_clip: As in `alpha_divergence`, before the two are compared.
    """
    low = divergence_loss(logits, teacher, alpha_low, weight_clip)
    high = divergence_loss(logits, teacher, alpha_high, weight_clip)
    return torch.where(low > high, low, high).mean()


def _logarithms(logits: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log q with a gradient, and without one log p and log p - log q."""
    log_q = functional.log_softmax(logits, 1)
    log_p = functional.log_softmax(teacher.detach(), 1)
    return log_q, log_p, log_p - log_q.detach()


def _weighted_growth(log_weight: Tensor, exponent: Tensor) -> Tensor:
    """`w (exp(x) - 1)`, also where w underflows while exp(x) overflows."""
    weight = log_weight.exp()
    large = (log_weight + exponent).exp() - weight
    return torch.where(exponent > 1.0, large, weight * exponent.clamp(max=1.0).expm1())
