import torch
from torch import nn

from hwnas.supernet.activation_memory import peak_step_bytes

ROWS, COLUMNS = 100, 64
BYTES = 4 * ROWS * COLUMNS


def test_peak_is_that_of_a_hand_computation():
    x = torch.randn(ROWS, COLUMNS)
    weight = nn.Parameter(torch.randn(COLUMNS, COLUMNS))

    def step():
        # Forward: x @ w, not kept; its sigmoid, kept. Backward: the sum's gradient is a view of a
        # scalar; the sigmoid's gradient is made while the sigmoid is there; the weight's outlives.
        return torch.autograd.grad((x @ weight).sigmoid().sum(), weight)

    scalars = 2 * 4  # the sum, and the gradient of it
    assert 2 * BYTES <= peak_step_bytes(step) <= 2 * BYTES + scalars


def test_saved_activations_add_up_and_weight_gradients_do_not_count():
    layers = [nn.Parameter(torch.randn(COLUMNS, COLUMNS) / 8) for _ in range(10)]
    x = torch.randn(ROWS, COLUMNS)

    def step(depth):
        y = x
        for weight in layers[:depth]:
            y = (y @ weight).sigmoid()
        return torch.autograd.grad(y.sum(), layers[:depth])

    peaks = [peak_step_bytes(lambda depth=depth: step(depth)) for depth in (5, 10)]

    assert peaks[1] - peaks[0] == 5 * BYTES


def test_tensors_without_a_graph_count_while_they_are_there():
    x = torch.randn(ROWS, COLUMNS)

    def freed_early():
        y = x * 2
        y = y * 2
        y = y * 2
        del y

    def kept():
        return len([x * 2, x * 3, x * 4])

    def in_place():
        y = x * 2
        y.mul_(2).view(-1).add_(1)
        del y

    assert peak_step_bytes(freed_early) == 2 * BYTES
    assert peak_step_bytes(kept) == 3 * BYTES
    assert peak_step_bytes(in_place) == BYTES
    assert peak_step_bytes(lambda: x.mul_(1).view(-1)) == 0
    assert peak_step_bytes(lambda: x * 2) == 0  # outlives the step
