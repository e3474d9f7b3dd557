import errno
import os

import numpy as np
import pytest
import torch

from hwnas.errors import RunError
from hwnas.supernet.checkpoint import load_training, save_training

IDENTITY = {"space": "small"}


@pytest.fixture
def parts():
    """What a checkpoint is of, except the rows: network, optimiser, sources of chance."""
    module = torch.nn.Linear(3, 2)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    module(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return module, optimiser, torch.Generator().manual_seed(1), np.random.default_rng(1)


def test_what_is_saved_is_loaded(tmp_path, parts):
    module, _, generator, rng = parts
    path = tmp_path / "supernet.pt"
    save_training(path, IDENTITY, *parts, [{"loss": 0.5}])
    weights = module.weight.detach().clone()
    wanted = (torch.rand(3, generator=generator).tolist(), rng.random(3).tolist())
    torch.nn.init.zeros_(module.weight)

    rows = load_training(path, IDENTITY, *parts)

    assert rows == [{"loss": 0.5}]
    assert torch.equal(module.weight, weights)
    assert (torch.rand(3, generator=generator).tolist(), rng.random(3).tolist()) == wanted
    assert [file.name for file in tmp_path.iterdir()] == ["supernet.pt"]


def test_a_full_disk_is_one_line_and_leaves_the_old_checkpoint(tmp_path, parts, monkeypatch):
    path = tmp_path / "supernet.pt"
    save_training(path, IDENTITY, *parts, [{"loss": 0.5}])

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError, match=r"disk is full: supernet\.pt"):
        save_training(path, IDENTITY, *parts, [{"loss": 0.4}])

    assert load_training(path, IDENTITY, *parts) == [{"loss": 0.5}]
    assert [file.name for file in tmp_path.iterdir()] == ["supernet.pt"]


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files, as POSIX can")
def test_a_write_that_is_refused_half_way_is_a_run_error(tmp_path, parts):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write supernet\.pt"):
            save_training(tmp_path / "supernet.pt", IDENTITY, *parts, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert list(tmp_path.iterdir()) == []
