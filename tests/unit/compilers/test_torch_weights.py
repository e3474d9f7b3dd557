import pytest
import torch

from hwnas.compilers.torch_weights import WeightStamp


@pytest.fixture
def weights():
    return [torch.arange(1000.0).reshape(10, 100), torch.tensor(3), torch.ones(4, 4).t()[:2]]


def test_unchanged_weights_fit(weights):
    assert WeightStamp(weights).fits(weights)
    assert WeightStamp([]).fits([])


@pytest.mark.parametrize(
    "change",
    [
        lambda weights: weights[0].mul_(2.0),
        lambda weights: weights[0].data.mul_(2.0),
        lambda weights: weights[0].numpy().__iadd__(1.0),
        lambda weights: weights[1].add_(1),
        lambda weights: weights[2].zero_(),
        lambda weights: weights.__setitem__(0, weights[0].clone()),
        lambda weights: weights[0].data.fill_(float("nan")),
    ],
)
def test_changed_weights_do_not_fit(weights, change):
    stamp = WeightStamp(weights)

    change(weights)

    assert not stamp.fits(weights)


def test_another_number_of_weights_does_not_fit(weights):
    assert not WeightStamp(weights).fits(weights[:2])
