"""Gradients of several sub-nets: their sum, nothing for what no path uses, no race."""

import pytest
import torch
from torch.nn import functional

from hwnas.spaces import Architecture
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.separate import SeparateSupernet
from hwnas.supernet.threads import side_by_side
from hwnas.training.path_gradients import path_gradients, set_gradients


def batch(digits, n=16):
    return torch.from_numpy(digits.x_train[:n]), torch.from_numpy(digits.y_train[:n])


def state(supernet):
    return {name: p.detach().clone() for name, p in supernet.shared_parameters().items()}


def step(supernet, paths, digits, executor=None, **more):
    images, labels = batch(digits)

    def objective(index, logits, teacher):
        return functional.cross_entropy(logits, labels)

    gradients, losses = path_gradients(
        supernet, paths, images, objective, executor=executor, **more
    )
    set_gradients(list(supernet.parameters()), gradients)
    return losses


@pytest.fixture
def supernet(space):
    return ElasticSupernet(space, torch.Generator().manual_seed(0))


def four_paths(space):
    some = [Architecture(space.name, row) for row in [(1, 0, 1, 2, 0), (0, 2, 0, 0, 0)]]
    return [space.largest(), space.smallest(), *some]


def test_a_block_that_no_path_uses_is_bit_identical_after_a_step_with_momentum(
    supernet, space, digits
):
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    step(supernet, [space.largest(), space.smallest()], digits)
    optimiser.step()  # momentum is now under way everywhere
    before = state(supernet)

    step(supernet, [space.smallest()], digits)
    optimiser.step()

    after = state(supernet)
    for name, parameter in supernet.shared_parameters().items():
        unused = name.startswith("block.2/")
        assert (parameter.grad is None) == unused
        assert torch.equal(before[name], after[name]) == unused


def test_candidates_that_were_not_sampled_are_bit_identical_after_a_step_with_momentum(
    space, digits
):
    supernet = SeparateSupernet(space, torch.Generator().manual_seed(0))
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    step(supernet, four_paths(space), digits)
    optimiser.step()
    before = state(supernet)

    step(supernet, [space.smallest()], digits)
    optimiser.step()

    after = state(supernet)
    used = {"stem", "block.1/0-0", "classifier"}
    for name in before:
        is_used = name.rpartition("/")[0].rpartition("/")[0] in used
        assert torch.equal(before[name], after[name]) == (not is_used), name


def test_gradients_of_several_paths_are_the_sum_of_the_gradients_of_each(supernet, space, digits):
    paths = four_paths(space)
    alone = []
    for path in paths:
        step(supernet, [path], digits)
        alone.append([p.grad for p in supernet.parameters()])

    step(supernet, paths, digits)

    for parameter, *parts in zip(supernet.parameters(), *alone, strict=True):
        torch.testing.assert_close(parameter.grad, sum(p for p in parts if p is not None))


def test_gradients_do_not_depend_on_threads(space, digits):
    found = []
    for threaded in (False, True):
        supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
        with side_by_side() as executor:
            losses = step(supernet, four_paths(space), digits, executor if threaded else None)
        found.append((losses, [p.grad for p in supernet.parameters()]))

    (first, one), (second, many) = found
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_a_scale_reaches_the_gradients_and_not_the_losses(supernet, space, digits):
    losses = step(supernet, four_paths(space), digits)
    plain = [p.grad for p in supernet.parameters()]

    scaled = step(supernet, four_paths(space), digits, scale=lambda loss: 8.0 * loss)

    assert scaled == losses
    for parameter, gradient in zip(supernet.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, 8.0 * gradient)


def test_only_the_paths_after_the_first_see_its_logits_and_those_are_detached(
    supernet, space, digits
):
    images, _ = batch(digits)
    seen = []

    def objective(index, logits, teacher):
        seen.append((index, teacher))
        return logits.sum()

    path_gradients(supernet, four_paths(space), images, objective)

    assert [index for index, _ in seen] == [0, 1, 2, 3]
    assert seen[0][1] is None
    for _, teacher in seen[1:]:
        assert not teacher.requires_grad
        torch.testing.assert_close(teacher, supernet(images, space.largest()))
