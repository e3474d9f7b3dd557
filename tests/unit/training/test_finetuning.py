"""Training of one network: from inherited weights and from scratch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.errors import DataError
from hwnas.graph import shape_of
from hwnas.lowering.torch_module import TorchModule
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.finetuning import FINETUNING, finetune, train_alone
from hwnas.training.options import TrainingOptions

QUICK = TrainingOptions(epochs=4, learning_rate=0.1, augmentation=None, zero_residual_scale=False)


@pytest.fixture(scope="module")
def inherited(space, digits):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    statistics = supernet.calibrate(space.largest(), torch.from_numpy(digits.x_train))
    return supernet.weights(space.largest(), statistics)


def wrong(space, architecture, weights, digits):
    module = TorchModule(space.network(architecture), weights).eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(digits.x_val))
    return float((logits.argmax(1).numpy() != digits.y_val).mean())


def test_finetuning_improves_a_sub_net_and_keeps_its_names(space, digits, inherited):
    rows = []

    tuned = finetune(
        space,
        space.largest(),
        inherited,
        digits,
        QUICK,
        rng=np.random.default_rng(0),
        progress=lambda epoch, epochs, metrics: rows.append(metrics["loss"]),
    )

    assert tuned.keys() == inherited.keys()
    assert all(tuned[name].shape == inherited[name].shape for name in inherited)
    assert len(rows) == 4
    assert rows[-1] < rows[0]
    before = wrong(space, space.largest(), inherited, digits)
    assert wrong(space, space.largest(), tuned, digits) < 0.5 * before


def test_finetuning_leaves_the_given_weights_alone(space, digits, inherited):
    before = {name: array.copy() for name, array in inherited.items()}

    finetune(
        space,
        space.largest(),
        inherited,
        digits,
        replace(QUICK, epochs=1),
        rng=np.random.default_rng(0),
    )

    for name, array in inherited.items():
        np.testing.assert_array_equal(array, before[name])


def test_finetuning_is_the_same_for_the_same_seed(space, digits, inherited):
    options = replace(QUICK, epochs=1)

    first, again, other = (
        finetune(
            space,
            space.largest(),
            inherited,
            digits,
            options,
            rng=np.random.default_rng(seed),
        )
        for seed in (0, 0, 1)
    )

    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_by_default_finetuning_takes_smaller_steps_than_training():
    assert 0 < FINETUNING.learning_rate <= TrainingOptions().learning_rate / 4


def test_training_from_scratch_makes_a_network_with_its_own_statistics(space, digits):
    architecture = space.from_options(space.options(space.largest()) | {"depth": 1})

    weights = train_alone(
        space,
        architecture,
        digits,
        replace(QUICK, epochs=8, learning_rate=0.3),
        rng=np.random.default_rng(0),
    )

    declared = space.network(architecture).weights
    assert {name: array.shape for name, array in weights.items()} == {
        name: shape_of(value) for name, value in declared.items()
    }
    assert wrong(space, architecture, weights, digits) < 0.6


def test_a_batch_larger_than_the_data_is_refused(space, digits):
    with pytest.raises(DataError, match="smaller batch"):
        train_alone(
            space,
            space.smallest(),
            digits,
            replace(QUICK, batch_size=512),
            rng=np.random.default_rng(0),
        )
