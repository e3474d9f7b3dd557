from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hwnas.errors import PluginError, TargetError
from hwnas.fpga import read_rows, rtl_hash
from hwnas.fpga.characterisation import ArrayRow
from hwnas.pipeline import characterizing
from hwnas.pipeline.characterizing import array_of, characterize_array
from hwnas.targets import get_target


class Netlist:
    """Stands for synthesis and for place and route, which take minutes."""

    def __init__(self, array, folder, fails_at=None):
        self.array, self.folder, self.fails_at, self.seeds = array, folder, fails_at, []

    def place_and_route(self, seed):
        if seed == self.fails_at:
            raise PluginError("nextpnr failed")
        self.seeds.append(seed)
        a = self.array
        chip = (a.family, a.device, a.package, a.speed, a.side, seed, 1e8 + seed)
        return ArrayRow(*chip, 1, 2, 3, 4, rtl_hash(), "0.70", "0.11", "2026-11-28")


@pytest.fixture
def array():
    return msgspec.structs.replace(get_target("ecp5_25f").fpga, package="CABGA256")


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Netlists that were made."""
    netlists = []

    def synthesise(array, **arguments):
        folder = tmp_path / f"netlist{len(netlists)}"
        folder.mkdir()
        netlists.append(Netlist(array, folder, **arguments))
        return netlists[-1]

    monkeypatch.setattr(characterizing, "synthesise", synthesise)
    return netlists


def test_every_seed_becomes_a_row_and_the_clock_is_their_median(array, made, tmp_path):
    path = tmp_path / "new" / "rows.csv"

    found = characterize_array(array, [1, 2, 3], path=path)

    assert found.done == (1, 2, 3)
    assert found.summary.frequency_hz == 1e8 + 2
    assert [row.seed for row in read_rows(path)] == [1, 2, 3]
    assert len(made) == 1
    assert not made[0].folder.exists()


def test_what_the_table_has_is_not_done_again_unless_asked(array, made, tmp_path):
    path = tmp_path / "rows.csv"
    characterize_array(array, [1, 2], path=path)

    more = characterize_array(array, [1, 2, 3], path=path)
    none = characterize_array(array, [1, 2, 3], path=path)
    again = characterize_array(array, [2], path=path, again=True)

    assert (more.done, none.done, again.done) == ((3,), (), (2,))
    assert [netlist.seeds for netlist in made] == [[1, 2], [3], [2]]


def test_seeds_before_a_failure_are_kept(array, monkeypatch, tmp_path):
    path, folder = tmp_path / "rows.csv", tmp_path / "netlist"
    folder.mkdir()
    monkeypatch.setattr(characterizing, "synthesise", lambda a: Netlist(a, folder, fails_at=2))

    with pytest.raises(PluginError, match="nextpnr failed"):
        characterize_array(array, [1, 2], path=path)

    assert [row.seed for row in read_rows(path)] == [1]
    assert not folder.exists()


def test_rows_of_other_arrays_stay(array, made, tmp_path):
    path = tmp_path / "rows.csv"
    characterize_array(array, [1], path=path)

    characterize_array(msgspec.structs.replace(array, side=2), [1], path=path)

    assert [row.side for row in read_rows(path)] == [2, 4]
    assert replace(read_rows(path)[0], side=4) == read_rows(path)[1]


@pytest.mark.parametrize(
    ("name", "side", "message"),
    [("cpu", None, "is no FPGA"), ("ecp5_25f", 6, "5x5 is the largest that fits")],
)
def test_targets_and_arrays_that_do_not_fit_are_refused(name, side, message):
    with pytest.raises(TargetError, match=message):
        array_of(get_target(name), side)


def test_no_seed_is_refused(array):
    with pytest.raises(TargetError, match="0 seeds asked for"):
        characterize_array(array, [], path=Path("nowhere"))
