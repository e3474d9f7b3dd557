from functools import partial

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.errors import RunError, SpaceError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.tangle_nas import TangleNas
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.training.options import TrainingOptions

OPTIONS = TrainingOptions(epochs=2, batch_size=16, augmentation=None)


@pytest.fixture(scope="module")
def costs():
    """A stage of one or two blocks at 4x4 pixels."""
    decisions = [Decision("depth", (1, 2))]
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=1, resolution=8)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
    ]
    for position in (1, 2):
        reads = {part: f"{position}.{part}" for part in ("kernel", "expand", "squeeze_excite")}
        decisions += [
            Decision(reads["kernel"], (3, 5)),
            Decision(reads["expand"], (2, 4)),
            Decision(reads["squeeze_excite"], (False, True)),
        ]
        present = Presence("depth", position) if position > 1 else None
        emit = partial(inverted_residual, width=8)
        blocks.append(ChoiceBlock(f"block.{position}", emit, reads, present=present))
    blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
    return count_costs(SearchSpace("tiny", tuple(decisions), tuple(blocks)), ["macs"])


class Dirichlet(TangleNas):
    draw = "dirichlet"


class Gumbel(TangleNas):
    draw = "gumbel"


@pytest.mark.parametrize("strategy", [TangleNas, Dirichlet, Gumbel])
def test_a_heavy_cost_leads_to_the_smallest_network_and_none_does_not(
    strategy, costs, cell_problem
):
    expected = []
    for weight in (0.0, 50.0):
        method = strategy(cell_problem(costs, weight=weight, epochs=5))
        for epoch in range(5):
            metrics = method.epoch(epoch)
        expected.append(metrics["expected_macs"])

    assert method.derive().tolist() == costs.space.smallest().row().tolist()
    assert expected[1] < 0.9 * expected[0]


def test_an_architecture_step_changes_no_weight_and_a_weight_step_no_parameter(
    costs, cell_problem
):
    method = TangleNas(cell_problem(costs))
    weights = [p.detach().clone() for p in method.supernet.parameters()]
    before = method.state()["architecture"]

    method.architecture_step(0.0)

    after = method.state()["architecture"]
    assert all(map(torch.equal, weights, method.supernet.parameters()))
    assert all((a != b).all() for a, b in zip(after, before, strict=True))
    assert all(p.grad is None for p in method.supernet.parameters())


def test_weights_are_trained_in_the_derived_network_at_the_end(costs, cell_problem):
    class Settled(TangleNas):
        settled_share = 1.0
        ARCHITECTURE_MOST = 0.0

    method = Settled(cell_problem(costs, epochs=1))
    with torch.no_grad():
        for parameter in method.parameters:
            parameter[0] = 1.0
    before = {n: p.detach().clone() for n, p in method.supernet.shared_parameters().items()}

    method.epoch(0)

    changed = {
        name
        for name, parameter in method.supernet.shared_parameters().items()
        if not torch.equal(parameter, before[name])
    }
    assert any(name.startswith("block.1/") for name in changed)
    assert not any(name.startswith("block.2/") or "/excite" in name for name in changed)


def test_fixed_decisions_have_no_parameters_to_train(costs, cell_problem):
    space = costs.space.restricted("part", {"depth": (2,), "1.kernel": (5,)})
    method = TangleNas(cell_problem(count_costs(space, ["macs"])))

    method.epoch(0)

    assert method.derive()[:2].tolist() == [0, 0]
    assert len(method.parameters) == len(space.decisions)
    assert torch.equal(method.option_weights(0.0)[0], torch.ones(1, dtype=torch.float64))


def test_preferences_have_their_largest_values_at_the_derived_options(costs, cell_problem):
    method = TangleNas(cell_problem(costs))
    with torch.no_grad():
        for parameter in method.parameters:
            parameter[1] = 2.0

    row = method.derive()

    assert [int(p.argmax()) for p in method.preference()] == row.tolist()
    assert sum(np.exp(p).sum() for p in method.preference()) == pytest.approx(len(row))


def test_a_resumed_search_is_that_of_an_unbroken_one(costs, small_digits, tmp_path, one_thread):
    del one_thread
    largest = float(costs.cost(costs.space.largest().row()[None])[0, 0])
    budgets = Budgets((Budget("macs", 0.7 * largest),))

    def search(rng, stop=None, **where):
        def progress(epoch, planned, metrics):
            del planned, metrics
            if epoch == stop:
                raise KeyboardInterrupt

        return gradient_search(
            small_digits, costs, budgets, Gumbel, OPTIONS, rng=rng, progress=progress, **where
        )

    whole = search(np.random.default_rng(0))
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        search(np.random.default_rng(0), stop=1, checkpoint=path)
    resumed = search(np.random.default_rng(1), checkpoint=path, resume=True)

    assert np.array_equal(whole.population, resumed.population)
    for a, b in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (costs.cost(whole.population) <= 0.7 * largest * (1 + 1e-6)).all()


def test_a_state_of_another_space_is_refused(costs, cell_problem):
    method = TangleNas(cell_problem(costs))
    state = method.state()
    state["architecture"] = [torch.zeros(9) for _ in state["architecture"]]

    with pytest.raises(RunError, match="damaged"):
        method.restore(state)


def test_spaces_of_cells_are_refused(cell_problem):
    with pytest.raises(SpaceError, match="tangle-nas on tiny-cells"):
        TangleNas(cell_problem())
