from dataclasses import replace
from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.datasets.dataset import load_dataset
from hwnas.errors import RunError, SpaceError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.hardware_loss import make_hardware_loss
from hwnas.search.gradient.path_distribution import PathDistribution
from hwnas.search.gradient.proxyless import Proxyless, check_mixable
from hwnas.search.gradient.strategy import GradientProblem
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.activation_memory import peak_step_bytes
from hwnas.supernet.gated import binary_gates
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import path_gradients

OPTIONS = TrainingOptions(epochs=3, batch_size=16, augmentation=None)


@pytest.fixture(scope="module")
def digits():
    full = load_dataset("digits", resolution=16)
    return replace(full, x_train=full.x_train[:64], y_train=full.y_train[:64])


@pytest.fixture(scope="module")
def space():
    """A stage of one or two blocks, with six candidates each."""
    decisions = [Decision("depth", (1, 2))]
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
    ]
    for position in (1, 2):
        reads = {part: f"block.{position}.{part}" for part in ("kernel", "expand")}
        decisions += [Decision(reads["kernel"], (3, 5, 7)), Decision(reads["expand"], (2, 4))]
        present = Presence("depth", position) if position > 1 else None
        emit = partial(inverted_residual, width=8)
        blocks.append(ChoiceBlock(f"block.{position}", emit, reads, present=present))
    blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
    return SearchSpace("tiny", tuple(decisions), tuple(blocks))


def make_problem(costs, dataset, *, seed=0, weight=1.0, options=OPTIONS):
    metric = costs.metrics[0]
    largest = costs.cost(costs.space.largest().row()[None])[0].tolist()
    return GradientProblem(
        costs.space,
        dataset,
        costs,
        Budgets((Budget(metric, largest[0] / 2),)),
        DifferentiableCosts(costs),
        make_hardware_loss("log", largest=largest, weight=weight),
        options,
        np.random.default_rng(seed),
        torch.Generator().manual_seed(seed),
    )


def twins():
    """Two blocks with four candidates that emit the same; the last one is 10 times as slow."""

    def emit(g, x, *, variant):
        del variant
        return conv_unit(g, x, width=8, kernel=3, stride=2)

    blocks = [ChoiceBlock("input", partial(network_input, channels=1, resolution=16))]
    blocks += [ChoiceBlock(f"twin{i}", emit, {"variant": f"twin{i}"}) for i in range(2)]
    blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
    decisions = tuple(Decision(f"twin{i}", (0, 1, 2, 3)) for i in range(2))
    costs = count_costs(SearchSpace("twins", decisions, tuple(blocks)), ["macs"])
    for slots in costs.slots[1:3]:
        slots[3] *= 10.0
    return costs


class Gentle(Proxyless):
    ARCHITECTURE_MOST = 0.1


def test_a_slow_candidate_that_is_no_better_falls(digits):
    costs = twins()
    shares = []
    for seed in range(5):
        strategy = Gentle(make_problem(costs, digits, seed=seed))
        stored = strategy.supernet.shared_parameters()
        with torch.no_grad():
            for name, parameter in stored.items():
                head, _, local = name.partition("/")
                if head.startswith("twin"):
                    parameter.copy_(stored[f"{head}/0/{local.partition('/')[2]}"])
        trace = []
        for _ in range(5):
            trace.append([float(p[3].detach()) for p in strategy.paths.probabilities()])
            for _ in range(5):
                strategy.architecture_step()
        shares.append(trace)

    mean = np.mean(shares, axis=(0, 2))
    assert mean[0] == pytest.approx(0.25, abs=0.01)
    assert (np.diff(mean) < 0).all()
    assert mean[-1] < 0.15


def test_two_path_updates_of_a_linear_loss_have_the_mean_of_the_formula():
    costs = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    space = SearchSpace(
        "one",
        (Decision("a", (1, 3, 5, 7)),),
        (
            ChoiceBlock("input", partial(network_input, channels=1, resolution=8)),
            ChoiceBlock("a", partial(conv_unit, width=4), {"kernel": "a"}),
        ),
    )
    rng = np.random.default_rng(0)
    paths = PathDistribution(space, rng)
    paths.restore([torch.tensor([0.5, 0.0, -0.5, 1.0], dtype=torch.float64)])
    p = paths.probabilities()[0].detach().numpy()
    found = []
    for _ in range(2000):
        (pair,) = paths.sample_pairs(rng)
        (two,) = paths.pair_probabilities([pair])
        loss = (binary_gates(two, pair[int(rng.integers(2))]) * costs).sum()
        found.append(torch.autograd.grad(loss, paths.parameters)[0].numpy())

    wanted = np.zeros(4)
    for i, k in permutations(range(4), 2):
        drawn = p[i] * p[k] * (1 / (1 - p[i]) + 1 / (1 - p[k]))
        wanted[i] += drawn * p[i] * p[k] / (p[i] + p[k]) ** 2 * float(costs[i] - costs[k])
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - wanted) < 4 * error).all()
    assert np.abs(np.sum(found, axis=1)).max() < 1e-12


def test_an_architecture_step_moves_two_candidates_a_group_and_no_weight(space, digits):
    strategy = Proxyless(make_problem(count_costs(space, ["macs"]), digits))
    weights = [p.detach().clone() for p in strategy.supernet.parameters()]
    before = [p.detach().clone() for p in strategy.paths.probabilities()]

    metrics = strategy.architecture_step()

    assert set(metrics) == {"architecture_loss", "validation_loss"}
    changed = [
        int(((p - q).abs() > 1e-12).sum())
        for p, q in zip(before, strategy.paths.probabilities(), strict=True)
    ]
    assert set(changed) <= {0, 2}
    assert changed[0] == 2
    assert all(
        torch.equal(p, q) for p, q in zip(strategy.supernet.parameters(), weights, strict=True)
    )
    assert all(p.grad is None for p in strategy.supernet.parameters())


def test_weights_of_unsampled_candidates_stay_bit_for_bit(space, digits):
    options = replace(OPTIONS, weight_decay=0.1, momentum=0.9)
    strategy = Proxyless(make_problem(count_costs(space, ["macs"]), digits, options=options))
    strategy.epoch(0)
    strategy.paths.sample_uniformly = lambda rng: [1, 4, 2]  # both blocks, one candidate each
    before = {k: v.detach().clone() for k, v in strategy.supernet.shared_parameters().items()}

    strategy.epoch(0)

    moved = {
        "/".join(name.split("/")[:2])
        for name, parameter in strategy.supernet.shared_parameters().items()
        if name.startswith("block") and not torch.equal(parameter, before[name])
    }
    assert moved == {"block.1/2-0", "block.2/1-0"}


def test_the_architecture_stays_during_warm_up(space, digits):
    options = replace(OPTIONS, epochs=4)
    strategy = Proxyless(make_problem(count_costs(space, ["macs"]), digits, options=options))
    assert strategy.warmup_epochs == 1
    start = strategy.paths.state()

    warm = strategy.epoch(0)
    unmoved = strategy.paths.state()
    searching = strategy.epoch(1)

    assert all(torch.equal(a, b) for a, b in zip(start, unmoved, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(start, strategy.paths.state(), strict=True))
    assert "architecture_loss" not in warm
    assert {"loss", "architecture_loss", "expected_macs", "certainty"} <= set(searching)


def test_cost_alone_leads_to_the_cheapest_network(space, digits):
    costs = count_costs(space, ["macs"])
    strategy = Proxyless(make_problem(costs, digits, weight=1e4))

    for _ in range(50):
        strategy.architecture_step()

    cheap = costs.cost(strategy.derive()[None])[0, 0]
    assert cheap == costs.cost(space.smallest().row()[None])[0, 0]
    assert all(np.argmax(scores) == 0 for scores in strategy.preference()[:3])


def test_a_broken_search_goes_on_to_the_same_result(space, digits, tmp_path):
    costs = count_costs(space, ["macs"])
    budgets = make_problem(costs, digits).budgets
    options = replace(OPTIONS, epochs=4)

    def search(file, progress=None, resume=False):
        return gradient_search(
            digits,
            costs,
            budgets,
            Proxyless,
            options,
            rng=np.random.default_rng(7),
            checkpoint=tmp_path / file,
            progress=progress,
            resume=resume,
        )

    def stop(epoch, epochs, metrics):
        if epoch == 2:
            raise KeyboardInterrupt

    whole = search("whole")
    with pytest.raises(KeyboardInterrupt):
        search("broken", stop)
    resumed = search("broken", resume=True)

    assert np.array_equal(whole.population, resumed.population)
    assert [r["loss"] for r in whole.rows] == [r["loss"] for r in resumed.rows]
    for one, two in zip(whole.supernet.parameters(), resumed.supernet.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_step_takes_the_memory_of_a_path(space, digits):
    problem = make_problem(count_costs(space, ["macs"]), digits)
    strategy = Proxyless(problem)
    x, y = strategy.validation_batch(16)
    largest = peak_step_bytes(
        lambda: path_gradients(
            strategy.supernet,
            [space.largest()],
            x,
            lambda i, logits, teacher: torch.nn.functional.cross_entropy(logits, y),
        )
    )

    peaks = [peak_step_bytes(strategy.architecture_step) for _ in range(10)]

    assert max(peaks) <= 2.3 * largest


def test_a_shared_decision_is_refused_with_what_to_use_instead():
    with pytest.raises(SpaceError, match=r"ofa-mbv3: decision 'resolution'.*proxyless-rl"):
        check_mixable(get_space("ofa-mbv3"))
    check_mixable(get_space("mbconv-digits"))
    check_mixable(get_space("proxyless-mobile"))


def test_a_damaged_state_is_refused(space, digits):
    strategy = Proxyless(make_problem(count_costs(space, ["macs"]), digits))
    state = strategy.state()

    with pytest.raises(RunError, match="damaged"):
        strategy.restore({k: v for k, v in state.items() if k != "optimiser"})
    with pytest.raises(RunError, match="another space"):
        strategy.restore(state | {"architecture": state["architecture"][:2]})
