import errno
import os

import numpy as np
import pytest
import torch

from hwnas.errors import RunError
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.separate import SeparateSupernet
from hwnas.training.checkpoint import load_checkpoint, load_supernet, save_checkpoint

IDENTITY = {"space": "tiny"}


@pytest.fixture
def supernet(space):
    return ElasticSupernet(space, torch.Generator().manual_seed(0))


@pytest.fixture
def parts(supernet):
    """The rest of a run: optimiser, sources of chance, state of a recipe."""
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.1, momentum=0.9)
    for parameter in supernet.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    return {
        "optimiser": optimiser,
        "generator": torch.Generator().manual_seed(1),
        "rng": np.random.default_rng(1),
        "recipe": {"phase": 2, "scores": torch.arange(3.0)},
    }


def weights(supernet):
    return {name: p.detach().clone() for name, p in supernet.shared_parameters().items()}


def test_what_is_saved_is_loaded(tmp_path, space, supernet, parts):
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, IDENTITY, supernet, [{"loss": 0.5}], **parts)
    before = weights(supernet)
    momentum = parts["optimiser"].state_dict()["state"][0]["momentum_buffer"].clone()
    recipe = parts.pop("recipe")
    wanted = (torch.rand(3, generator=parts["generator"]).tolist(), parts["rng"].random(3))
    other = ElasticSupernet(space)
    fresh = {
        "optimiser": torch.optim.SGD(other.parameters(), lr=0.3, momentum=0.1),
        "generator": torch.Generator(),
        "rng": np.random.default_rng(),
    }

    found = load_checkpoint(path, IDENTITY)
    found.load_into(supernet=other, **fresh)

    assert found.rows == [{"loss": 0.5}]
    assert found.sharing == "elastic"
    assert found.part("recipe")["phase"] == 2
    assert torch.equal(found.part("recipe")["scores"], recipe["scores"])
    after = weights(other)
    assert all(torch.equal(before[name], after[name]) for name in before)
    loaded = fresh["optimiser"].state_dict()
    assert torch.equal(loaded["state"][0]["momentum_buffer"], momentum)
    assert loaded["param_groups"][0]["lr"] == 0.1
    assert torch.rand(3, generator=fresh["generator"]).tolist() == wanted[0]
    np.testing.assert_array_equal(fresh["rng"].random(3), wanted[1])
    assert [file.name for file in tmp_path.iterdir()] == ["supernet.pt"]


@pytest.mark.parametrize("kind", [ElasticSupernet, SeparateSupernet])
def test_a_supernet_comes_back_with_its_way_of_sharing(tmp_path, space, kind):
    path = tmp_path / "supernet.pt"
    saved = kind(space, torch.Generator().manual_seed(3))
    save_checkpoint(path, IDENTITY, saved, [])

    found = load_supernet(path, space)

    assert type(found) is kind
    assert not found.training
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(found(x, space.smallest()), saved(x, space.smallest()))


def test_an_unknown_way_of_sharing_is_refused(tmp_path, space, supernet):
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, IDENTITY, supernet, [])
    state = torch.load(path, weights_only=True)
    torch.save(state | {"sharing": "os.system"}, path)

    with pytest.raises(RunError, match=r"'os.system'; hwnas knows elastic"):
        load_supernet(path, space)


def test_a_supernet_of_another_space_is_refused(tmp_path, make_space, supernet):
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, IDENTITY, supernet, [])

    with pytest.raises(RunError, match=r"space 'tiny', asked for 'other'"):
        load_supernet(path, make_space("other"))


@pytest.mark.parametrize("lost", ["supernet", "parts", "rows", "sharing", "structure"])
def test_a_checkpoint_that_lacks_an_entry_is_refused(tmp_path, supernet, lost):
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, IDENTITY, supernet, [])
    state = torch.load(path, weights_only=True)
    del state[lost]
    torch.save(state, path)

    with pytest.raises(RunError, match="damaged"):
        load_checkpoint(path, IDENTITY)


def test_parts_that_are_missing_or_do_not_fit_are_refused(tmp_path, supernet, parts):
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, IDENTITY, supernet, [], **parts)
    found = load_checkpoint(path, IDENTITY)

    with pytest.raises(RunError, match="damaged"):
        found.load_into(supernet=torch.nn.Linear(3, 2))
    with pytest.raises(RunError, match="damaged"):
        found.load_into(absent=torch.Generator())
    with pytest.raises(RunError, match="damaged"):
        found.load_into(recipe=np.random.default_rng())
    with pytest.raises(RunError, match="no 'absent'"):
        found.part("absent")


def test_a_full_disk_is_one_line_and_leaves_the_old_checkpoint(
    tmp_path, supernet, parts, monkeypatch
):
    path = tmp_path / "supernet.pt"
    save_checkpoint(path, IDENTITY, supernet, [{"loss": 0.5}], **parts)

    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError, match=r"disk is full: supernet\.pt"):
        save_checkpoint(path, IDENTITY, supernet, [{"loss": 0.4}], **parts)

    assert load_checkpoint(path, IDENTITY).rows == [{"loss": 0.5}]
    assert [file.name for file in tmp_path.iterdir()] == ["supernet.pt"]


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files, as POSIX can")
def test_a_write_that_is_refused_half_way_is_a_run_error(tmp_path, supernet, parts):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write supernet\.pt"):
            save_checkpoint(tmp_path / "supernet.pt", IDENTITY, supernet, [], **parts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert list(tmp_path.iterdir()) == []
