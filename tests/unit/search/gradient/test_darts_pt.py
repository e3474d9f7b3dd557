import numpy as np
import pytest
import torch

from hwnas.search.gradient.darts_pt import DartsPt
from hwnas.supernet.cell_supernet import Edge

SEPARABLE = 2


def planted(problem, edge, steps=30):
    """Weights trained with one operation on one edge, whose parameter is the smallest."""
    strategy = DartsPt(problem)
    index = strategy.distribution.slots.edges.index(edge)
    mixture = strategy.mixture()
    mixture[:, :] = 0.0
    mixture[:, 0] = 0.1
    mixture[index, :] = 0.0
    mixture[index, SEPARABLE] = 1.0
    batch = next(strategy._loop.batches(torch.arange(64), 0))
    for _ in range(steps):
        strategy.weight_step(mixture, batch)
        strategy._optimiser.step()
    with torch.no_grad():
        strategy.distribution.parameters.zero_()
        strategy.distribution.parameters[index, SEPARABLE] = -0.5
    return strategy, index


@pytest.mark.parametrize("criterion", ["loss", "error"])
def test_the_planted_operation_is_kept_though_its_parameter_is_the_smallest(
    cell_problem, criterion
):
    problem = cell_problem(weight=0.0, batch_size=64, learning_rate=0.3)
    strategy, index = planted(problem, Edge("normal", 2, 1))
    strategy.criterion = criterion

    assert int(strategy.distribution.parameters[index].argmin()) == SEPARABLE
    assert strategy.select_operation(index) == SEPARABLE


def test_of_operations_that_matter_alike_the_cheaper_one_is_kept(cell_problem):
    chosen = {}
    for weight in (0.0, 10.0):
        strategy = DartsPt(cell_problem(weight=weight))
        losses = torch.tensor([0.5, 0.5, 0.51])
        strategy.evaluate = lambda mixtures, losses=losses: list(losses[: len(mixtures)])
        chosen[weight] = strategy.select_operation(0)

    assert chosen[0.0] == SEPARABLE
    assert chosen[10.0] != SEPARABLE


def test_the_edge_that_is_missed_least_goes(cell_problem):
    strategy = DartsPt(cell_problem(weight=0.0))
    part = strategy.distribution.slots.edges_of("normal", 3)
    strategy._decided[:] = 1
    asked = []

    def evaluate(mixtures):
        asked.extend(mixtures)
        return [torch.tensor(loss) for loss in (0.9, 0.2, 0.7)]

    strategy.evaluate = evaluate
    gone = strategy.remove_edge("normal", 3)

    assert gone == part.start + 1
    assert [int((m[part].sum(1) == 0).nonzero()) for m in asked] == [0, 1, 2]
    assert strategy.mixture()[gone].tolist() == [0.0] * 4
    options = strategy.space.options(strategy.space.architecture(strategy.derive()))
    assert options["normal.node3.inputs"] == (0, 2)


def test_everything_is_decided_by_as_many_evaluations_as_there_are_candidates(cell_problem):
    strategy = DartsPt(cell_problem(epochs=3))
    edges = len(strategy.distribution.slots.edges)

    searched = [strategy.epoch(epoch) for epoch in range(2)]
    selected = strategy.epoch(2)
    later = strategy.epoch(3)

    assert strategy.search_epochs() == 2
    assert all("evaluations" not in row for row in searched)
    # 3 operations on each edge, then one edge of three goes in each cell.
    assert selected["evaluations"] == edges * 3 + 2 * 3
    assert selected["decided"] == strategy.decisions == edges + 2
    assert later["evaluations"] == 0


def test_the_derived_network_is_the_mixture_that_is_left(cell_problem):
    strategy = DartsPt(cell_problem(epochs=1))
    strategy.epoch(0)
    images = torch.from_numpy(strategy.problem.dataset.x_val)

    weights = strategy.distribution.edge_weights(strategy.mixture())
    network = strategy.space.architecture(strategy.derive())

    with torch.no_grad():
        wanted = strategy.supernet(images, network)
        assert torch.allclose(strategy.cells(images, weights), wanted, atol=1e-4)
        cost = strategy.problem.costs.cost(strategy.derive()[None])[0]
        expected = strategy.expected_cost(strategy.mixture()).numpy()
        assert expected == pytest.approx(cost.astype(np.float64), rel=1e-6)


def test_parameters_of_the_architecture_rest_during_the_selection(cell_problem):
    strategy = DartsPt(cell_problem(epochs=1))
    before = strategy.distribution.parameters.detach().clone()

    strategy.epoch(0)

    assert torch.equal(strategy.distribution.parameters, before)


def test_decided_edges_are_one_hot_in_the_mixture(cell_problem):
    strategy = DartsPt(cell_problem())
    strategy._decided[4] = 1

    mixture = strategy.mixture()

    assert mixture[4].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert torch.equal(mixture[3], strategy.distribution.probabilities()[3].detach())
