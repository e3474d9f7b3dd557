from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.errors import RunError, SpaceError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.gold_nas import PUBLISHED_STEPS, GoldNas, relative_costs
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.spaces.cell_operations import SEPARABLE_3X3, SKIP_CONNECT
from hwnas.spaces.cells import CellLayout, CellSpace, cell_blocks, cell_sequence
from hwnas.training.options import TrainingOptions


@pytest.fixture(scope="module")
def costs():
    """Two cells of two nodes, 20 operations."""
    cells = cell_sequence(("normal", "reduction"), width=4, side=8)
    operations = (SKIP_CONNECT, SEPARABLE_3X3)
    layout = CellLayout(cells, operations, 2, edges="subsets", is_shared=False)
    blocks = cell_blocks(layout, channels=1, resolution=8, classes=10, stem_widths=(4,))
    return count_costs(CellSpace("tiny-free", layout, blocks), ["macs"])


@pytest.fixture
def gold(cell_problem, costs):
    return GoldNas(replace(cell_problem(costs), budgets=Budgets(())))


class Impatient(GoldNas):
    """Prunes in a few epochs of four steps."""

    first_increment = 0.02 / PUBLISHED_STEPS


def images(seed=0):
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def set_shares(method, shares):
    """Parameters of which every node has these shares, up to a factor, in the order of edges."""
    with torch.no_grad():
        method.parameters.copy_(torch.logit(torch.tensor(shares, dtype=torch.float64)))


def alive_of_nodes(method):
    counts = {}
    for edge, alive in zip(method.cells.edges, method.alive, strict=True):
        key = (edge.owner, edge.node)
        counts[key] = counts.get(key, 0) + int(alive.sum())
    return list(counts.values())


def test_the_penalty_is_that_of_the_formula(gold):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        gold.parameters += torch.randn(gold.parameters.shape, generator=generator)
    gold.alive[0, 1] = gold.alive[4, 0] = False
    relative = relative_costs(gold.problem.costs, gold.cells, ("macs",))
    sigma = torch.sigmoid(gold.parameters.detach()) * gold.alive
    wanted = 0.0
    for owner, node in {(edge.owner, edge.node) for edge in gold.cells.edges}:
        rows = [i for i, e in enumerate(gold.cells.edges) if (e.owner, e.node) == (owner, node)]
        total, n = float(sigma[rows].sum()), int(gold.alive[rows].sum())
        for i in rows:
            for o in range(2):
                if gold.alive[i, o]:
                    term = np.log(1 + n * float(sigma[i, o]) / total)
                    wanted += term * (1.0 + float(relative[i, o]))

    assert float(gold.penalty().detach()) == pytest.approx(wanted)


def test_relative_costs_are_those_of_the_operations(gold, costs):
    relative = relative_costs(costs, gold.cells, ("macs",))

    # Depthwise and pointwise, twice, at 8x8 pixels and 4 channels, and at 4x4 and 8.
    separable = {"cell0": 2 * (4 * 9 + 4 * 4) * 64, "cell1": 2 * (8 * 9 + 8 * 8) * 16}
    wanted = np.zeros_like(relative)
    for i, edge in enumerate(gold.cells.edges):
        wanted[i, 1] = separable[edge.owner]
        if edge.owner == "cell1" and edge.source < 2:
            wanted[i, 0] = 2 * 8 * 4 * 16  # a skip at stride 2 is two 1x1 convolutions
    assert relative.mean() == pytest.approx(1.0)
    assert np.allclose(relative, wanted / wanted.mean(), rtol=1e-4)


def test_lambda_grows_ever_faster_until_four_are_pruned_at_once(gold):
    first = gold.least_increment
    found = []
    for _ in range(3):
        assert gold.prune() == 0
        found.append(gold.weight)
    assert found == pytest.approx([2 * first, 6 * first, 14 * first])

    shares = [[0.5, 0.5]] * 10
    shares[2] = shares[3] = [0.001, 0.001]
    set_shares(gold, shares)
    assert gold.prune() == 4
    assert gold.weight == pytest.approx(7 * first)
    assert gold.increment == first

    assert gold.prune() == 0
    assert gold.weight == pytest.approx(9 * first)


def test_small_operations_are_pruned_and_of_smallish_ones_four_in_all(gold):
    shares = [[0.5, 0.5]] * 10
    shares[2] = [0.005, 0.08]  # 0.2 % and 4 % of their node
    shares[5], shares[7] = [0.02, 0.02], [0.05, 0.06]  # 2 % each; 2.4 % and 3 %
    set_shares(gold, shares)

    assert gold.prune() == 4

    assert not gold.alive[2, 0]
    assert int((~gold.alive).sum()) == 4
    assert not gold.alive[5].any()
    assert not gold.alive[7, 0]
    assert gold.alive[2, 1]
    assert gold.alive[7, 1]


def test_the_last_operation_of_a_node_is_never_pruned(gold):
    set_shares(gold, [[1e-9, 2e-9]] * 10)

    for _ in range(30):
        gold.prune()
    while gold._prune_smallest(1.0):
        pass

    assert alive_of_nodes(gold) == [1, 1, 1, 1]
    assert gold.prune() == 0


def test_cost_never_rises_and_pruned_operations_never_return(cell_problem, costs):
    problem = replace(cell_problem(costs, epochs=12), budgets=Budgets(()))
    method = Impatient(problem)
    before, spent, pruned = method.alive.clone(), np.inf, 0
    for epoch in range(12):
        weights = method.parameters.detach().clone()
        metrics = method.epoch(epoch)
        pruned += metrics["pruned"]

        cost = float(costs.cost(method.derive()[None])[0, 0])
        assert cost <= spent
        assert not (method.alive & ~before).any()
        assert metrics["alive"] == method.alive.sum() == 20 - pruned
        before, spent = method.alive.clone(), cost

    assert pruned > 4
    assert method.is_settled
    assert torch.equal(weights, method.parameters)


def test_a_plateau_of_three_epochs_gives_one_network_of_the_front(gold):
    for _ in range(5):
        gold.prune()
    assert gold.front == [gold.space.largest().row().tolist()]

    set_shares(gold, [[0.5, 0.5]] * 9 + [[0.5, 1e-6]])
    assert gold.prune() == 1
    set_shares(gold, [[0.5, 0.5]] * 10)
    for _ in range(3):
        gold.prune()

    assert len(gold.front) == 2
    assert gold.front[1] == gold.derive().tolist()


def test_the_final_supernet_is_the_derived_network(gold):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        gold.parameters += torch.randn(gold.parameters.shape, generator=generator)
    gold.alive[:] = torch.rand(gold.alive.shape, generator=generator) < 0.5
    gold.alive[::2, 0] = True
    path = gold.space.architecture(gold.derive())
    kept = gold.factors()

    with torch.no_grad():
        ones = {edge: (weight > 0).to(weight) for edge, weight in kept.items()}
        plain = gold.cells(images(), ones)
        wanted = gold.supernet(images(), path)
        factored = gold.cells(images(), kept)
        # With factors, too, it is made of nothing but the derived network's weights.
        for edge, alive in zip(gold.cells.edges, gold.alive.tolist(), strict=True):
            for operation, is_alive in enumerate(alive):
                for parameter in gold.cells.parameters_of(edge, operation):
                    if not is_alive:
                        parameter.fill_(torch.nan)
        poisoned = gold.cells(images(), kept)

    assert torch.allclose(plain, wanted, atol=1e-6)
    assert torch.equal(poisoned, factored)
    assert not torch.allclose(plain, factored, atol=1e-3)


def test_pruning_ends_when_the_budget_is_met(cell_problem, costs):
    problem = cell_problem(costs, epochs=4)
    method = GoldNas(problem)
    with torch.no_grad():
        method.parameters[:, 1] = -2.0

    for epoch in range(4):
        metrics = method.epoch(epoch)

    limit = problem.budgets.limits[0].limit
    spent = float(costs.cost(method.derive()[None])[0, 0])
    assert method.is_settled
    assert spent <= limit
    # The last one pruned costs at most an eighth of the largest network.
    assert spent >= limit - costs.cost(costs.space.largest().row()[None])[0, 0] / 8
    assert metrics["pruned"] == 0


def test_steps_move_weights_and_parameters_on_training_images_alone(cell_problem, costs):
    method = GoldNas(replace(cell_problem(costs), budgets=Budgets(())))
    weights = [p.detach().clone() for p in method.supernet.parameters()]

    metrics = method.epoch(0)

    assert np.isfinite(metrics["loss"])
    assert (method.parameters != 0).all()
    assert sum(
        not torch.equal(a, b) for a, b in zip(weights, method.supernet.parameters(), strict=True)
    )


def test_preferences_favour_what_is_alive(gold):
    set_shares(gold, [[0.9, 0.2]] * 10)
    gold.alive[3, 0] = False

    preference = gold.preference()

    layout, space = gold.cells.layout, gold.space
    columns = {decision.name: i for i, decision in enumerate(space.decisions)}
    for number, edge in enumerate(gold.cells.edges):
        column = columns[layout.decisions(edge.owner, edge.node)[f"edge{edge.source}"]]
        best = space.decisions[column].options[int(preference[column].argmax())]
        assert best == (() if number == 3 else ("skip_connect",))
        assert np.exp(preference[column]).sum() == pytest.approx(1.0)


def test_a_resumed_search_is_that_of_an_unbroken_one(costs, small_digits, tmp_path, one_thread):
    del one_thread
    options = TrainingOptions(epochs=3, batch_size=16, augmentation=None, learning_rate=0.1)
    largest = float(costs.cost(costs.space.largest().row()[None])[0, 0])
    budgets = Budgets((Budget("macs", 0.6 * largest),))

    def search(seed, stop=None, **where):
        def progress(epoch, planned, metrics):
            del planned, metrics
            if epoch == stop:
                raise KeyboardInterrupt

        rng = np.random.default_rng(seed)
        return gradient_search(
            small_digits, costs, budgets, Impatient, options, rng=rng, progress=progress, **where
        )

    whole = search(0)
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        search(0, stop=1, checkpoint=path)
    resumed = search(1, checkpoint=path, resume=True)

    assert np.array_equal(whole.population, resumed.population)
    assert (costs.cost(whole.population) <= 0.6 * largest * (1 + 1e-6)).all()
    for a, b in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_state_of_another_space_is_refused(gold):
    state = gold.state()
    state["alive"] = torch.ones(3, 2, dtype=torch.bool)

    with pytest.raises(RunError, match="alive of shape"):
        gold.restore(state)


def test_edges_of_one_operation_are_refused(cell_problem):
    with pytest.raises(SpaceError, match="cells-digits-free"):
        GoldNas(cell_problem())
