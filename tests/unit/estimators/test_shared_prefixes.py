"""Sharing the first blocks changes no number."""

import numpy as np
import pytest
import torch

from hwnas.estimators.shared_prefixes import outputs_by_prefix
from hwnas.spaces import get_space
from hwnas.supernet.elastic import ElasticSupernet


@pytest.mark.parametrize("name", ["unet@16", "mbconv-digits@16"])
def test_outputs_are_those_of_every_sub_net_by_itself(name):
    space = get_space(name)
    generator = torch.Generator().manual_seed(0)
    supernet = ElasticSupernet(space, generator)
    shape = space.network(space.largest()).inputs[0].shape.numpy()[1:]
    images = torch.randn(70, *shape, generator=generator)
    calibration = torch.randn(66, *shape, generator=generator)
    rows = np.unique(space.sample(4, np.random.default_rng(1)), axis=0)

    found = dict(outputs_by_prefix(supernet, rows, calibration, images))

    assert sorted(found) == list(range(len(rows)))
    for index, outputs in found.items():
        architecture = space.architecture(rows[index])
        statistics = supernet.calibrate(architecture, calibration)
        assert torch.equal(outputs, supernet.logits(architecture, images, statistics))


def test_first_blocks_run_once(space, monkeypatch):
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    grid = np.indices(space.option_counts).reshape(len(space.decisions), -1).T
    rows = np.unique(space.canonicalise(np.ascontiguousarray(grid, np.uint8)), axis=0)
    ran, plan = [], supernet.block_plan
    monkeypatch.setattr(
        supernet, "block_plan", lambda *which: ran.append(which[0]) or plan(*which)
    )
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))

    done = list(outputs_by_prefix(supernet, rows, images, images))

    assert len(done) == len(rows) == 42
    assert [ran.count(block) for block in range(5)] == [1, 1, 6, 42, 42]


def test_no_rows_need_no_work(space):
    supernet = ElasticSupernet(space)
    images = torch.zeros(2, 1, 16, 16)

    assert not list(outputs_by_prefix(supernet, np.empty((0, 5), np.uint8), images, images))
