"""On quadratic losses the gradient through one step is known in closed form."""

import pytest
import torch

from hwnas.search.gradient.unrolled import unrolled_gradient

# L_train = |w - A a|^2 / 2, L_val = |w - b|^2 / 2 + c a: with d = dL_train/dw = w - A a,
# w' = w - xi (w - A a) and dL_val(w', a)/da = c + xi A^T (w' - b).
A = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], dtype=torch.float64)
B = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
C = torch.tensor([0.3, -0.1], dtype=torch.float64)


@pytest.fixture
def toy():
    weights = torch.tensor([0.5, 1.5, -1.0], dtype=torch.float64, requires_grad=True)
    architecture = torch.tensor([0.7, -0.4], dtype=torch.float64, requires_grad=True)

    def training_loss():
        return (weights - A @ architecture).square().sum() / 2

    def validation_loss():
        return (weights - B).square().sum() / 2 + C @ architecture

    return weights, architecture, training_loss, validation_loss


def plain(gradients):
    return gradients


@pytest.mark.parametrize("rate", [0.025, 0.3])
def test_the_gradient_is_the_analytic_one_of_one_unrolled_step(toy, rate):
    weights, architecture, training_loss, validation_loss = toy

    found, loss = unrolled_gradient(
        training_loss, validation_loss, [weights], architecture, plain, rate
    )

    w, a = weights.detach(), architecture.detach()
    moved = w - rate * (w - A @ a)
    wanted = C + rate * A.T @ (moved - B)
    assert (found - wanted).norm() < 1e-3 * wanted.norm()
    assert float(loss) == pytest.approx(float((moved - B).square().sum() / 2 + C @ a))


def test_momentum_and_decay_move_the_point_but_add_no_term(toy):
    weights, architecture, training_loss, validation_loss = toy
    moment = torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64)

    def step(gradients):
        return [gradients[0] + 0.9 * moment + 0.01 * weights.detach()]

    found, _ = unrolled_gradient(
        training_loss, validation_loss, [weights], architecture, step, 0.1
    )

    w, a = weights.detach(), architecture.detach()
    moved = w - 0.1 * (w - A @ a + 0.9 * moment + 0.01 * w)
    wanted = C + 0.1 * A.T @ (moved - B)
    assert (found - wanted).norm() < 1e-3 * wanted.norm()


def test_a_rate_of_zero_is_the_first_order_gradient(toy):
    weights, architecture, training_loss, validation_loss = toy

    found, _ = unrolled_gradient(
        training_loss, validation_loss, [weights], architecture, plain, 0.0
    )

    assert torch.equal(found, C)


def test_a_curved_loss_agrees_with_the_exact_derivative_through_the_step():
    weights = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    architecture = torch.tensor([0.7, -0.4], dtype=torch.float64, requires_grad=True)

    def train(w):
        return ((architecture.softmax(0) * w.tanh()).sum() - 0.3).square() + w.pow(4).sum() / 10

    def validate(w):
        return ((architecture.softmax(0) * w.sin()).sum() - 1.0).square()

    found, _ = unrolled_gradient(
        lambda: train(weights), lambda: validate(weights), [weights], architecture, plain, 0.1
    )

    (slope,) = torch.autograd.grad(train(weights), weights, create_graph=True)
    (wanted,) = torch.autograd.grad(validate(weights - 0.1 * slope), architecture)
    (first,) = torch.autograd.grad(validate(weights), architecture)
    assert (found - wanted).norm() < 1e-3 * wanted.norm()
    assert (first - wanted).norm() > 1e-2 * wanted.norm()


def test_weights_are_left_as_they_were_even_after_an_error(toy):
    weights, architecture, training_loss, validation_loss = toy
    unused = torch.ones(2, dtype=torch.float64, requires_grad=True)
    before = weights.detach().clone()

    def broken():
        raise ArithmeticError

    unrolled_gradient(training_loss, validation_loss, [weights, unused], architecture, plain, 0.1)
    assert torch.equal(weights, before)
    with pytest.raises(ArithmeticError):
        unrolled_gradient(training_loss, broken, [weights, unused], architecture, plain, 0.1)
    assert torch.equal(weights, before)
    assert torch.equal(unused, torch.ones(2, dtype=torch.float64))
