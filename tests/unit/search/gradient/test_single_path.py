from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from hwnas.costs import count_costs
from hwnas.datasets.dataset import load_dataset
from hwnas.errors import RunError, SpaceError
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.gradient_search import gradient_search
from hwnas.search.gradient.single_path import SinglePath
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.training.checkpoint import load_supernet
from hwnas.training.options import TrainingOptions

OPTIONS = TrainingOptions(epochs=4, batch_size=16, augmentation=None)


class _NoWarmup(SinglePath):
    warmup_share = 0.0


@pytest.fixture(scope="module")
def digits():
    full = load_dataset("digits", resolution=8)
    return replace(full, name="tiny", x_train=full.x_train[:256], y_train=full.y_train[:256])


@pytest.fixture(scope="module")
def costs():
    """Three searchable blocks at 8x8 pixels, the last one of which can be absent."""
    decisions = [Decision("depth", (1, 2))]
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=1, resolution=8)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3)),
    ]
    for name in ("first", "second", "third"):
        reads = {part: f"{name}.{part}" for part in ("kernel", "expand")}
        decisions += [Decision(reads["kernel"], (3, 5)), Decision(reads["expand"], (2, 4))]
        emit = partial(inverted_residual, width=8, stride=2 if name == "first" else 1)
        present = Presence("depth", 2) if name == "third" else None
        blocks.append(ChoiceBlock(name, emit, reads, present=present))
    blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
    return count_costs(SearchSpace("tiny", tuple(decisions), tuple(blocks)))


def _search(costs, digits, budgets=None, strategy=SinglePath, options=OPTIONS, **kwargs):
    budgets = budgets or Budgets((Budget("macs", 10 * _macs(costs, costs.space.largest().row())),))
    rng = np.random.default_rng(0)
    return gradient_search(digits, costs, budgets, strategy, options, rng=rng, **kwargs)


def _macs(costs, row):
    return float(costs.cost(np.asarray(row, np.uint8)[None])[0][costs.metrics.index("macs")])


def _share(costs, share):
    smallest = _macs(costs, costs.space.smallest().row())
    largest = _macs(costs, costs.space.largest().row())
    return Budgets((Budget("macs", smallest + share * (largest - smallest)),))


def test_cost_of_the_result_does_not_rise_with_its_weight(costs, digits):
    options = replace(OPTIONS, epochs=3, learning_rate=0.1)

    found = [
        _search(
            costs,
            digits,
            strategy=_NoWarmup,
            options=options,
            hardware_loss="log",
            cost_weight=weight,
        ).rows[-1]["derived_macs"]
        for weight in (0.0, 0.3, 100.0)
    ]

    assert found == sorted(found, reverse=True)
    assert found[0] > 0.9 * _macs(costs, costs.space.largest().row())
    assert found[2] == _macs(costs, costs.space.smallest().row())


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_the_search_itself_comes_under_a_budget(costs, digits, share):
    budgets = _share(costs, share)

    options = replace(OPTIONS, epochs=6)
    found = _search(costs, digits, budgets, _NoWarmup, options)

    assert not found.repaired
    assert found.rows[-1]["derived_macs"] <= budgets.limits[0].limit
    assert found.rows[-1]["derived_macs"] > _macs(costs, costs.space.smallest().row())


def test_cost_has_no_say_in_the_warmup(costs, digits):
    thresholds = []

    class Watched(SinglePath):
        def epoch(self, epoch):
            metrics = super().epoch(epoch)
            thresholds.append(self.network.thresholds.detach().clone())
            return metrics

    options = replace(OPTIONS, epochs=2)
    for weight in (0.0, 100.0):
        loss = {"hardware_loss": "log", "cost_weight": weight}
        _search(costs, digits, strategy=Watched, options=options, **loss)

    assert len(thresholds) == 4
    torch.testing.assert_close(thresholds[0], thresholds[2], rtol=0, atol=0)
    assert (thresholds[3] > thresholds[1]).any()


class _StoppedError(Exception):
    pass


def test_a_resumed_run_ends_as_an_unbroken_one(costs, digits, tmp_path):
    def stop(epoch, epochs, metrics):
        if epoch == 2:
            raise _StoppedError

    path = tmp_path / "supernet.pt"
    options = replace(OPTIONS, epochs=3)
    search = partial(_search, costs, digits, _share(costs, 0.9), options=options)
    whole = search()
    with pytest.raises(_StoppedError):
        search(checkpoint=path, progress=stop)

    found = search(checkpoint=path, resume=True)

    np.testing.assert_array_equal(found.population, whole.population)
    for one, other in zip(found.rows, whole.rows, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for one, other in zip(found.supernet.parameters(), whole.supernet.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_checkpoint_serves_as_an_elastic_supernet(costs, digits, tmp_path):
    options = replace(OPTIONS, epochs=1)
    found = _search(costs, digits, options=options, checkpoint=tmp_path / "supernet.pt")

    loaded = load_supernet(tmp_path / "supernet.pt", costs.space)

    images = torch.from_numpy(digits.x_val[:8])
    architecture = costs.space.smallest()
    with torch.no_grad():
        assert torch.equal(loaded(images, architecture), found.supernet(images, architecture))


def test_options_next_to_a_threshold_are_missed_least(costs, digits):
    kept = []

    class Kept(SinglePath):
        def epoch(self, epoch):
            with torch.no_grad():
                self.network.thresholds.copy_(self.network.norms() - 2.0)
                self.network.thresholds[1] += 1.9
            kept.append(self)
            return {"loss": 0.0}

    _search(costs, digits, strategy=Kept, options=replace(OPTIONS, epochs=1))
    preference = kept[0].preference()

    lost = [float(values[-1] - values[0]) for values in preference]
    assert lost[1] == pytest.approx(0.1, abs=1e-4)
    assert lost[0] == pytest.approx(2.0, abs=1e-4)
    assert [int(values.argmax()) for values in preference] == kept[0].derive().tolist()


def test_a_damaged_state_is_refused(costs, digits):
    made = []

    class Kept(SinglePath):
        def epoch(self, epoch):
            made.append(self)
            return {"loss": 0.0}

    _search(costs, digits, strategy=Kept, options=replace(OPTIONS, epochs=1))
    state = made[0].state()

    for damaged in ({}, state | {"thresholds": torch.zeros(2)}, state | {"thresholds": "none"}):
        with pytest.raises(RunError, match="state of single-path is damaged"):
            made[0].restore(damaged)


def test_a_space_of_other_decisions_is_refused(digits):
    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=8)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3), {"activation": "activation"}),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    space = SearchSpace("other", (Decision("activation", ("relu", "hard_swish")),), blocks)

    with pytest.raises(SpaceError, match="single-path on other: decision 'activation'"):
        _search(count_costs(space), digits)
