import pytest
import torch

from hwnas.search.gradient.relaxed_draws import (
    DRAWS,
    dirichlet_weights,
    gumbel_one_hot,
    gumbel_top_hot,
    softmax_weights,
)

PARAMETERS = torch.tensor([0.7, -0.4, 0.1, -1.2], dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_two_distinct_entries_are_drawn_as_without_replacement():
    draws = 200_000
    p = PARAMETERS.softmax(0)
    first = p[:, None] * p / (1 - p[:, None])
    wanted = p + first.sum(0) - first.diagonal()  # p_1 + sum_(i != 1) p_i p_1 / (1 - p_i)

    hot = gumbel_top_hot(PARAMETERS.expand(draws, 4), 2, generator(), 1.0)

    assert torch.equal(hot.sum(1), torch.full((draws,), 2.0, dtype=torch.float64))
    assert ((hot == 0) | (hot == 1)).all()
    assert (hot.mean(0) - wanted).abs().max() < 2.5e-3


@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1])
def test_one_hot_draws_have_the_frequencies_of_the_softmax(temperature):
    hot = torch.stack(
        [gumbel_one_hot(PARAMETERS, source, temperature) for source in [generator()] * 5000]
    )

    assert (hot.amax(1) == 1).all()
    assert (hot.sum(1) == 1).all()
    assert (hot.mean(0) - PARAMETERS.softmax(0)).abs().max() < 0.02


def test_the_gradient_of_a_draw_is_that_of_its_relaxation():
    parameters = PARAMETERS.clone().requires_grad_()
    costs = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)

    (gumbel_top_hot(parameters, 2, generator(5), 0.7) @ costs).backward()

    noise = -torch.empty(4, dtype=torch.float64).exponential_(generator=generator(5)).log()
    again = PARAMETERS.clone().requires_grad_()
    (((again.log_softmax(0) + noise) / 0.7).softmax(0) @ costs).backward()
    assert torch.allclose(parameters.grad, again.grad, atol=1e-14)


def test_dirichlet_draws_have_the_mean_of_their_concentration():
    concentration = torch.nn.functional.elu(PARAMETERS) + 1
    source = generator()
    drawn = torch.stack([dirichlet_weights(PARAMETERS, source, 1.0) for _ in range(20_000)])

    assert torch.allclose(drawn.sum(1), torch.ones(20_000, dtype=torch.float64))
    assert (drawn.mean(0) - concentration / concentration.sum()).abs().max() < 0.01


def test_the_mean_gradient_of_dirichlet_draws_is_that_of_their_mean():
    costs = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    source = generator()
    found = []
    for _ in range(4000):
        parameters = PARAMETERS.clone().requires_grad_()
        (dirichlet_weights(parameters, source, 1.0) @ costs).backward()
        found.append(parameters.grad)
    parameters = PARAMETERS.clone().requires_grad_()
    concentration = torch.nn.functional.elu(parameters) + 1
    (concentration / concentration.sum() @ costs).backward()

    error = torch.stack(found).std(0) / 4000**0.5
    assert ((torch.stack(found).mean(0) - parameters.grad).abs() < 4.5 * error).all()


def test_a_falling_temperature_makes_the_softmax_one_hot():
    weights = [softmax_weights(PARAMETERS, generator(), t) for t in (1.0, 0.3, 0.02)]

    assert torch.allclose(weights[0], PARAMETERS.softmax(0))
    assert weights[0][0] < weights[1][0] < weights[2][0]
    assert weights[2][0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_draws_are_weights_that_depend_on_the_generator_alone(name):
    parameters = PARAMETERS.clone().requires_grad_()

    weights = DRAWS[name](parameters, generator(1), 0.5)

    assert weights.shape == (4,)
    assert float(weights.detach().sum()) == pytest.approx(1.0)
    assert torch.equal(weights, DRAWS[name](parameters, generator(1), 0.5))
    (gradient,) = torch.autograd.grad((weights * torch.arange(4)).sum(), [parameters])
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
