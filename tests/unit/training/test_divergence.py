"""Alpha-divergences: values by their definition, limits, gradients by finite differences."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.training.divergence import (
    adaptive_divergence_loss,
    alpha_divergence,
    divergence_loss,
)

CLIP = 5.0


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [2 * torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(2)]


def kullback_leibler(p, q):
    return (p * (p / q).log()).sum(1)


def gradient(loss, logits, *more):
    logits = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(logits, *more).sum(), logits)
    return found


@pytest.mark.parametrize("clip", [None, CLIP, 1.5])
@pytest.mark.parametrize("alpha", [-2.0, -1.0, 0.3, 0.7, 2.0])
def test_the_value_is_that_of_the_definition(pair, alpha, clip):
    q, p = (logits.softmax(1) for logits in pair)
    weights = (p / q) ** alpha
    weights = weights if clip is None else weights.clamp(max=clip)

    found = alpha_divergence(*pair, alpha, clip)

    torch.testing.assert_close(found, ((q * weights).sum(1) - 1) / (alpha * (alpha - 1)))


def test_the_named_special_cases(pair):
    q, p = (logits.softmax(1) for logits in pair)

    torch.testing.assert_close(alpha_divergence(*pair, -1.0), ((q**2 / p).sum(1) - 1) / 2)
    torch.testing.assert_close(alpha_divergence(*pair, 2.0), ((p**2 / q).sum(1) - 1) / 2)
    torch.testing.assert_close(alpha_divergence(*pair, 1.0), kullback_leibler(p, q))
    torch.testing.assert_close(alpha_divergence(*pair, 0.0), kullback_leibler(q, p))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_near_the_limits_it_tends_to_the_kullback_leibler_divergences(pair, limit, dtype):
    pair = [logits.to(dtype) for logits in pair]
    exact = alpha_divergence(*pair, limit)

    for step in (1e-3, -1e-3, 1e-4, -1e-4):
        error = (alpha_divergence(*pair, limit + step) - exact).abs().max()
        assert error < 20 * abs(step)
        gap = gradient(divergence_loss, *pair, limit + step)
        gap = (gap - gradient(divergence_loss, *pair, limit)).abs().max()
        assert gap < 20 * abs(step)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_the_gradient_is_that_of_the_value_by_finite_differences(pair, alpha):
    logits, teacher = pair
    found = gradient(divergence_loss, logits, teacher, alpha)

    for column in range(logits.shape[1]):
        step = torch.zeros_like(logits)
        step[:, column] = 1e-6
        above = alpha_divergence(logits + step, teacher, alpha)
        below = alpha_divergence(logits - step, teacher, alpha)
        torch.testing.assert_close(found[:, column], (above - below) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", [-1.0, 0.5, 2.0])
@pytest.mark.parametrize("clip", [None, CLIP])
def test_a_constant_in_the_coefficients_changes_no_gradient(pair, alpha, clip):
    def without_constant(logits, teacher):
        log_q = logits.log_softmax(1)
        weights = (alpha * (teacher.log_softmax(1) - log_q)).exp().detach()
        weights = weights if clip is None else weights.clamp(max=clip)
        return -(log_q.exp().detach() * weights / alpha * log_q).sum(1)

    found = gradient(divergence_loss, *pair, alpha, clip)

    torch.testing.assert_close(found, gradient(without_constant, *pair), rtol=0, atol=1e-13)


def test_at_one_the_gradient_is_that_of_soft_cross_entropy(pair):
    logits, teacher = pair

    found = gradient(divergence_loss, logits, teacher, 1.0, CLIP)

    torch.testing.assert_close(found, logits.softmax(1) - teacher.softmax(1))


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_it_is_zero_for_equal_distributions_and_positive_otherwise(pair, alpha):
    logits, teacher = pair

    assert (alpha_divergence(logits, teacher, alpha) > 0).all()
    assert alpha_divergence(logits, logits + 3.0, alpha).abs().max() < 1e-14
    assert gradient(divergence_loss, logits, logits + 3.0, alpha).abs().max() < 1e-14


def test_clipping_lowers_the_value_and_bounds_the_gradient():
    teacher = torch.tensor([[30.0, 0.0, 0.0]], dtype=torch.float64)
    logits = torch.zeros(1, 3, dtype=torch.float64)

    assert alpha_divergence(logits, teacher, -1.0) > 1e10
    assert 0 < alpha_divergence(logits, teacher, -1.0, CLIP) < CLIP
    assert gradient(divergence_loss, logits, teacher, -1.0).abs().max() > 1e10
    assert gradient(divergence_loss, logits, teacher, -1.0, CLIP).abs().max() < CLIP


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("sides", [(200.0, -200.0), (-200.0, 200.0), (0.0, 200.0), (200.0, 0.0)])
def test_extreme_logits_stay_finite_under_a_clip(alpha, sides):
    logits, teacher = (torch.tensor([[side, 0.0, -side / 2]]) for side in sides)

    assert alpha_divergence(logits, teacher, alpha, CLIP).isfinite().all()
    assert gradient(divergence_loss, logits, teacher, alpha, CLIP).isfinite().all()
    assert adaptive_divergence_loss(logits, teacher).isfinite()


def test_underflowing_probabilities_do_not_spoil_the_unclipped_divergence():
    logits = torch.tensor([[0.0, -120.0]])
    teacher = torch.tensor([[0.0, -230.0]])  # (q / p) overflows and q^2 / p does not

    assert alpha_divergence(logits, teacher, -1.0).item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    ("student", "teacher", "chosen"),
    [
        ([0.4, 0.3, 0.3], [0.98, 0.01, 0.01], -1.0),  # flatter on the teacher's tails
        ([0.98, 0.01, 0.01], [0.5, 0.48, 0.02], 1.0),  # misses a mode
    ],
)
def test_the_adaptive_loss_follows_the_larger_divergence(student, teacher, chosen):
    logits, target = (
        torch.tensor([each], dtype=torch.float64).log() for each in (student, teacher)
    )

    found = gradient(adaptive_divergence_loss, logits, target)

    torch.testing.assert_close(found, gradient(divergence_loss, logits, target, chosen, CLIP))
    assert adaptive_divergence_loss(logits, target) == alpha_divergence(
        logits, target, chosen, CLIP
    )


def test_the_adaptive_choice_is_made_for_every_sample_by_itself():
    student = torch.tensor([[0.4, 0.3, 0.3], [0.98, 0.01, 0.01]]).log()
    teacher = torch.tensor([[0.98, 0.01, 0.01], [0.5, 0.48, 0.02]]).log()
    values = torch.stack(
        [alpha_divergence(student, teacher, alpha, CLIP) for alpha in (-1.0, 1.0)]
    )
    assert values.argmax(0).tolist() == [0, 1]

    found = adaptive_divergence_loss(student, teacher)

    torch.testing.assert_close(found, values.max(0).values.mean())


def test_zero_is_an_alpha_like_any_other(pair):
    found = adaptive_divergence_loss(*pair, alpha_low=0.0, alpha_high=0.0)

    torch.testing.assert_close(found, alpha_divergence(*pair, 0.0).mean())


def test_the_teacher_gets_no_gradient(pair):
    logits, teacher = (each.clone().requires_grad_() for each in pair)

    adaptive_divergence_loss(logits, teacher).backward()

    assert teacher.grad is None
    assert logits.grad is not None


def test_a_student_that_follows_the_loss_becomes_its_teacher(pair):
    logits, teacher = pair
    logits = logits.clone().requires_grad_()
    optimiser = torch.optim.SGD([logits], lr=4.0)
    begin = adaptive_divergence_loss(logits, teacher).item()

    for _ in range(150):
        optimiser.zero_grad()
        adaptive_divergence_loss(logits, teacher).backward()
        optimiser.step()

    assert adaptive_divergence_loss(logits, teacher).item() < begin / 1000
    distance = functional.l1_loss(logits.softmax(1), teacher.softmax(1)).item()
    assert distance < 0.01
    assert np.isfinite(logits.detach().numpy()).all()
