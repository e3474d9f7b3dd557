"""`hwnas cosearch` from the command line to the run directory."""

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas import cli
from hwnas.cosearch import Nasaic
from hwnas.cosearch.design_record import read_design
from hwnas.estimators.error_table import write_error_table
from hwnas.pipeline.cosearch_requests import default_data
from hwnas.search.run_directory import RunDirectory
from hwnas.spaces import get_space

SPACES = ("cosearch", "--spaces", "resnet9,unet")
SPEC = ("--spec", "latency=2ms,energy=4J,area=6e9um2")
FAST = ("--estimator", "synthetic", "--episodes", "3", "--hardware-steps", "40")


@pytest.fixture
def hwnas(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["hwnas", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_co_search_leaves_a_whole_run_directory(hwnas):
    code, out, _ = hwnas(*SPACES, *SPEC, *FAST, "--seed", "3", "--json", "-o", "run")

    found = json.loads(out)
    run = RunDirectory.open(Path("run"))
    assert code == 0
    assert run.record.state == "finished"
    assert run.record.arguments["command"] == "cosearch"
    assert run.record.provenance["energy_j"] == "modelled"
    history = run.read_history()
    assert len(history) == 3 * 41
    assert history.metrics[:4] == ("latency_s", "energy_j", "area_mm2", "latency_cycles")
    members = run.read_front()
    design = read_design(run.path / "chosen.json")
    assert design.specs_met
    assert design.weighted_error == min(member.error for member in members)
    assert tuple(design.architecture) in {member.architecture for member in members}
    assert found["chosen"]["latency_cycles"] == design.latency_cycles
    refused, _, err = hwnas("export", "run", "-o", "exported")
    assert refused == 1
    assert "is a co-search of several networks" in err


def test_a_co_search_that_was_killed_resumes_to_the_same_design(hwnas, monkeypatch):
    hwnas(*SPACES, *SPEC, *FAST, "-o", "whole")
    kept = Nasaic.run

    def killed(self, on_progress):
        def on_first(share):
            on_progress(share)
            raise KeyboardInterrupt

        kept(self, on_first)

    monkeypatch.setattr("hwnas.pipeline.cosearching._CHECKPOINT_S", 0.0)
    monkeypatch.setattr(Nasaic, "run", killed)
    stopped, _, err = hwnas(*SPACES, *SPEC, *FAST, "-o", "broken")
    assert stopped == 1
    assert "what was done is kept" in err
    assert not Path("broken", "chosen.json").exists()
    monkeypatch.setattr(Nasaic, "run", kept)

    code, _, _ = hwnas(*SPACES, *SPEC, *FAST, "--resume", "-o", "broken")

    assert code in (0, 3)
    for name in ("chosen.json", "front.csv"):
        assert Path("broken", name).read_bytes() == Path("whole", name).read_bytes()
    whole, broken = (RunDirectory.open(Path(name)).read_history() for name in ("whole", "broken"))
    np.testing.assert_array_equal(whole.costs, broken.costs)


def test_specs_that_nothing_meets_end_with_code_3_before_anything_is_trained(hwnas):
    code, _, err = hwnas(*SPACES, "--spec", "latency=10cycles", "-o", "run")

    assert code == 3
    assert "the nearest miss has latency_cycles" in err
    assert not Path("run").exists()


def test_a_search_that_finds_nothing_ends_with_code_3_and_keeps_the_nearest_miss(hwnas):
    tight = ("--spec", "latency=3e5cycles,area=4e9um2", *FAST, "--strategy", "network-first")
    code, _, err = hwnas(*SPACES, *tight, "-o", "run")

    design = read_design(Path("run", "chosen.json"))
    assert code == 3
    assert "network-first found no design" in err
    assert f"{max(design.missed.values()):.3g} times the spec" in err
    assert not design.specs_met
    again, _, _ = hwnas(*SPACES, *tight, "--resume", "-o", "run")
    assert again == 3


def test_errors_come_from_tables_where_they_are_given(hwnas):
    rng = np.random.default_rng(0)
    for name in ("resnet9", "unet"):
        space = get_space(name)
        rows = np.unique(space.sample(60, rng), axis=0)
        errors = rng.uniform(0.1, 0.4, len(rows))
        notes = {"space": name, "provenance": "measured"}
        write_error_table(Path(f"{name}.csv"), space, rows, errors, notes)

    code, _, _ = hwnas(
        *(*SPACES, *SPEC, "--episodes", "2", "--hardware-steps", "60", "--seed", "3"),
        *("--accuracy", "resnet9.csv,unet.csv", "--interpolate", "-o", "run"),
    )

    design = read_design(Path("run", "chosen.json"))
    assert code in (0, 3)
    assert [network.error_provenance for network in design.networks] == ["modelled", "modelled"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*SPACES, "--spec", "latency=5"), "has no unit"),
        ((*SPACES, "--spec", "power=5W"), "cannot read spec 'power=5W'"),
        ((*SPACES, *SPEC, "--weights", ".5,.6"), "sum to 1.1"),
        ((*SPACES, *SPEC, "--weights", ".5"), "1 weights for 2 spaces"),
        ((*SPACES, *SPEC, "--weights", "a,b"), "cannot read weights"),
        ((*SPACES, *SPEC, "--strategy", "nope"), "unknown strategy 'nope'; available"),
        ((*SPACES, *SPEC, "--estimator", "nope"), "unknown estimator 'nope'; available"),
        ((*SPACES, *SPEC, "--estimator", "tabulated"), "0 error tables for 2 spaces"),
        ((*SPACES, *SPEC, "--accuracy", "a.csv"), "1 error tables for 2 spaces"),
        ((*SPACES, *SPEC, "--accuracy", "a,b", "--estimator", "trained"), "not by trained"),
        ((*SPACES, *SPEC, "--data", "digits"), "1 data sets for 2 spaces"),
        ((*SPACES, *SPEC, "--technology", "nope"), "unknown technology 'nope'; available"),
        ((*SPACES, *SPEC, "--hardware", "nope"), "unknown space of hardware 'nope'"),
        ((*SPACES, *SPEC, "--hardware", "accelerator@0"), "must be 1 to 4"),
        (("cosearch", "--spaces", "resnet9,nope", *SPEC), "unknown space 'nope'; available"),
        (("cosearch", "--spaces", "resnet9,", *SPEC), "name the spaces"),
        ((*SPACES, *SPEC, "--episodes", "0"), "not in the range"),
    ],
)
def test_bad_arguments_end_with_code_2_and_say_what_to_do(hwnas, arguments, said):
    code, out, err = hwnas(*arguments, "-o", "run")

    assert code == 2
    assert said in err
    assert not out
    assert "Traceback" not in err


def test_each_kind_of_network_has_data_of_its_kind():
    assert default_data(get_space("resnet9")) == "digits"
    assert default_data(get_space("unet")) == "nuclei"
