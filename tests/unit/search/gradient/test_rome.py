from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.errors import RunError, SpaceError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.rome import Rome
from hwnas.spaces.cells import CellLayout, CellSpace, cell_blocks
from hwnas.supernet.cell_supernet import Edge
from hwnas.training.options import TrainingOptions


class FewDraws(Rome):
    samples = 2


@pytest.fixture
def rome(cell_problem):
    method = FewDraws(cell_problem())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (method.distribution.parameters, method.edge_parameters):
            parameter += torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return method


def kept_of(weights):
    return {edge: int(weight.detach().argmax()) for edge, weight in weights.items()}


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_every_draw_is_a_network_with_two_edges_a_node(rome, progress):
    for _ in range(20):
        weights = rome.draw(progress)

        for owner, node in rome.distribution.slots.nodes:
            assert sum((e.owner, e.node) == (owner, node) for e in weights) == 2
        for weight in weights.values():
            assert sorted(weight.tolist()) == [0.0, 0.0, 1.0]
        rome.distribution.slots.row(kept_of(weights))


def test_edges_are_drawn_with_the_marginals_of_drawing_without_replacement(rome):
    draws = 1500
    counts = dict.fromkeys(rome.distribution.slots.edges, 0)
    with torch.no_grad():
        for _ in range(draws):
            for edge in rome.draw(0.0):
                counts[edge] += 1

    for (owner, node), p in zip(
        rome.distribution.slots.nodes, rome.edge_probabilities(), strict=True
    ):
        p = p.detach().numpy()
        for source in range(node):
            others = [i for i in range(node) if i != source]
            wanted = p[source] + sum(p[i] * p[source] / (1 - p[i]) for i in others)
            found = counts[Edge(owner, node, source)] / draws
            assert found == pytest.approx(wanted, abs=0.05)


def test_expected_cost_is_the_mean_cost_of_draws(rome, cell_costs):
    with torch.no_grad():
        expected = float(rome.expected_cost(rome.distribution.probabilities())[0])
        rows = [rome.distribution.slots.row(kept_of(rome.draw(0.0))) for _ in range(800)]

    costs = cell_costs.cost(np.stack(rows))[:, 0]
    assert costs.std() > 0
    assert expected == pytest.approx(costs.mean(), abs=4 * costs.std() / np.sqrt(len(costs)))


def test_the_variance_of_the_mean_gradient_falls_with_the_draws(cell_problem, small_digits):
    # All validation images make one batch, so that draws are the only source of chance.
    few = replace(small_digits, x_val=small_digits.x_val[:16], y_val=small_digits.y_val[:16])
    method = Rome(cell_problem(dataset=few, weight=0.0))

    def variance(samples, repeats=40):
        found = [
            torch.cat([g.flatten() for g in method.architecture_gradients(0.9, samples)[0]])
            for _ in range(repeats)
        ]
        return float(torch.stack(found).var(0).sum())

    assert variance(4) / variance(1) == pytest.approx(0.25, abs=0.12)


def test_weights_get_the_sum_over_draws_and_those_of_no_draw_get_none(rome):
    images = torch.from_numpy(rome.problem.dataset.x_train[:16])
    labels = torch.from_numpy(rome.problem.dataset.y_train[:16])
    batch = next(rome._loop.batches(torch.arange(16), 0))
    parameters = list(rome.supernet.parameters())
    wanted = [None] * len(parameters)
    rome.problem.generator.manual_seed(11)
    for _ in range(rome.samples):
        loss = rome._task_loss_of(rome.draw(0.0), images, labels)
        for i, g in enumerate(torch.autograd.grad(loss, parameters, allow_unused=True)):
            if g is not None:
                wanted[i] = g if wanted[i] is None else wanted[i] + g
    rome.problem.generator.manual_seed(11)

    rome._weight_step(0.0, batch)

    assert any(g is None for g in wanted)
    for parameter, gradient in zip(parameters, wanted, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        assert gradient is None or torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_the_likeliest_edges_and_operations_are_derived(rome):
    row = rome.derive()

    slots = rome.distribution.slots
    kept = {}
    for key in slots.nodes:
        part = slots.edges_of(*key)
        strongest = rome.edge_parameters[part].topk(2).indices
        for i in strongest.tolist():
            edge = slots.edges[part.start + i]
            kept[edge] = int(rome.distribution.parameters[part.start + i].argmax())
    assert row.tolist() == slots.row(kept).tolist()
    assert [int(p.argmax()) for p in rome.preference()] == row.tolist()


def test_a_heavy_cost_leads_to_cheaper_networks(cell_problem, cell_costs):
    costs = {}
    for weight in (0.0, 30.0):
        method = FewDraws(cell_problem(weight=weight, epochs=4))
        for epoch in range(4):
            method.epoch(epoch)
        costs[weight] = float(cell_costs.cost(method.derive()[None])[0, 0])

    cheapest = float(cell_costs.cost(cell_costs.space.smallest().row()[None])[0, 0])
    assert costs[30.0] < costs[0.0]
    assert costs[30.0] == pytest.approx(cheapest, rel=0.05)


def test_a_resumed_search_is_that_of_an_unbroken_one(
    cell_costs, small_digits, tmp_path, one_thread
):
    del one_thread
    options = TrainingOptions(epochs=2, batch_size=16, augmentation=None, learning_rate=0.1)
    largest = float(cell_costs.cost(cell_costs.space.largest().row()[None])[0, 0])
    budgets = Budgets((Budget("macs", 0.7 * largest),))

    def search(seed, stop=None, **where):
        def progress(epoch, planned, metrics):
            del planned, metrics
            if epoch == stop:
                raise KeyboardInterrupt

        rng = np.random.default_rng(seed)
        return gradient_search(
            small_digits,
            cell_costs,
            budgets,
            FewDraws,
            options,
            rng=rng,
            progress=progress,
            **where,
        )

    whole = search(0)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        search(0, stop=1, checkpoint=path)
    resumed = search(1, checkpoint=path, resume=True)

    assert np.array_equal(whole.population, resumed.population)
    for a, b in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_state_without_edges_is_refused(rome):
    state = rome.state()
    del state["edges"]

    with pytest.raises(RunError, match="damaged"):
        rome.restore(state)


def test_edges_that_keep_any_subset_are_refused(cell_problem, cell_space):
    cells = cell_space.layout.cells
    layout = CellLayout(cells, cell_space.layout.operations[:1], 2, edges="subsets")
    blocks = cell_blocks(layout, channels=1, resolution=8, classes=10, stem_widths=(4,))
    costs = count_costs(CellSpace("subsets", layout, blocks), ["macs"])

    with pytest.raises(SpaceError, match="gold-nas"):
        Rome(cell_problem(costs))
