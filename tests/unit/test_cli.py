"""The command line: exit codes, one-line errors, JSON on stdout."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hwnas import cli
from hwnas.spaces import get_space


@pytest.fixture
def hwnas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Runs a command in a fresh table; gives exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["hwnas", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    run.table = str(tmp_path / "costs.sqlite")  # type: ignore[attr-defined]
    return run


SEARCH = ("search", "--space", "mbconv-digits", "--target", "simulated")
FAST = ("--estimator", "synthetic", "--evaluations", "200")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("spaces", "nope"), "unknown space 'nope'; available"),
        (("spaces", "ofa-mbv3@4"), "pixels from 16 to 1024"),
        (("targets", "nope"), "unknown target 'nope'; available"),
        ((*SEARCH, "--latency", "5", "-o", "r"), "has no unit"),
        ((*SEARCH, "--latency", "5mJ", "-o", "r"), "not one of time"),
        ((*SEARCH, "--latency", "150%", "-o", "r"), "no share of the largest network"),
        ((*SEARCH, "--strategy", "nope", "-o", "r"), "unknown strategy 'nope'; available"),
        ((*SEARCH, "--estimator", "nope", "-o", "r"), "unknown estimator 'nope'; available"),
        (("search", "--space", "mbconv-digits"), "Missing option"),
        (("characterize", "--target", "cpu"), "'cpu' is no FPGA; ecp5_25f and ecp5_85f are"),
        (("characterize", "--target", "ecp5_25f", "--array", "6x6"), "5x5 is the largest"),
        (("characterize", "--target", "ecp5_25f", "--array", "4x5"), "is no square array"),
        (("characterize", "--target", "ecp5_25f", "--array", "64x64"), "sides of 2 to 16"),
        (("nonsense",), "No such command"),
        ((*SEARCH, "--population", "1", "-o", "r"), "not in the range"),
    ],
)
def test_bad_arguments_end_with_code_2_and_say_what_to_do(hwnas, arguments, said):
    code, out, err = hwnas(*arguments, *(("--table", hwnas.table) if "-o" in arguments else ()))

    assert code == 2
    assert said in err
    assert not out
    assert "Traceback" not in err


def test_unreachable_budget_ends_with_code_3_and_the_fastest_network(hwnas, tmp_path):
    run = str(tmp_path / "run")

    code, _, err = hwnas(*SEARCH, *FAST, "--latency", "1us", "--table", hwnas.table, "-o", run)

    assert code == 3
    assert "the fastest architecture has" in err
    assert not Path(run).exists()


def test_json_of_a_failure_is_one_object(hwnas, tmp_path):
    run = str(tmp_path / "run")

    code, out, _ = hwnas(
        *SEARCH, *FAST, "--latency", "1us", "--table", hwnas.table, "-o", run, "--json"
    )

    assert json.loads(out)["exit_code"] == code == 3


def test_search_writes_a_run_that_keeps_its_budget(hwnas, tmp_path):
    run = tmp_path / "run"

    code, out, _ = hwnas(
        *SEARCH, *FAST, "--latency", "50%", "--table", hwnas.table, "-o", str(run), "--json"
    )

    found = json.loads(out)
    assert code == 0
    chosen = found["chosen"]
    assert chosen["budget_kept"]
    assert chosen["predicted"]["latency_s"]["value"] <= chosen["budgets"]["latency_s"]
    assert chosen["predicted"]["latency_s"]["provenance"] == "simulated"
    assert {"run.json", "history.parquet", "front.csv", "chosen.json"} <= {
        file.name for file in run.iterdir()
    }


def test_second_search_into_the_same_folder_asks_for_resume(hwnas, tmp_path):
    arguments = (*SEARCH, *FAST, "--table", hwnas.table, "-o", str(tmp_path / "run"))
    hwnas(*arguments)

    code, _, err = hwnas(*arguments)

    assert code == 1
    assert "--resume" in err


def test_resuming_a_finished_search_changes_nothing(hwnas, tmp_path):
    run = tmp_path / "run"
    arguments = (*SEARCH, *FAST, "--table", hwnas.table, "-o", str(run))
    hwnas(*arguments)
    before = (run / "front.csv").read_bytes()

    code, _, _ = hwnas(*arguments, "--resume")

    assert code == 0
    assert (run / "front.csv").read_bytes() == before


def test_resume_with_other_arguments_names_the_first_that_differs(hwnas, tmp_path):
    arguments = (*SEARCH, *FAST, "--table", hwnas.table, "-o", str(tmp_path / "run"))
    hwnas(*arguments)

    code, _, err = hwnas(*arguments, "--resume", "--latency", "50%")

    assert code == 1
    assert "limits" in err


def test_corrupt_table_is_reported_in_one_line(hwnas, tmp_path):
    table = tmp_path / "bad.sqlite"
    table.write_bytes(b"not a database at all" * 100)

    code, _, err = hwnas("profile", "--space", "mbconv-digits", "--table", str(table))

    assert code == 1
    assert "not a database" in err
    assert len(err.strip().splitlines()) == 1


def test_export_of_a_run_without_weights_says_why(hwnas, tmp_path):
    run = str(tmp_path / "run")
    hwnas(*SEARCH, *FAST, "--table", hwnas.table, "-o", run)

    code, _, err = hwnas("export", run, "-o", str(tmp_path / "export"))

    assert code == 1
    assert "no trained weights" in err


def test_report_of_a_run_is_written(hwnas, tmp_path):
    run = tmp_path / "run"
    hwnas(*SEARCH, *FAST, "--table", hwnas.table, "-o", str(run))

    code, out, _ = hwnas("report", str(run))

    assert code == 0
    assert Path(out.strip()).read_text(encoding="utf-8").startswith("<!DOCTYPE html")


def test_table_is_exported_and_merged(hwnas, tmp_path):
    hwnas("profile", "--space", "mbconv-digits", "--target", "simulated", "--table", hwnas.table)
    csv = tmp_path / "costs.csv"

    code, out, _ = hwnas("table", "export", str(csv), "--table", hwnas.table, "--json")
    merged, out_merged, _ = hwnas(
        "table", "merge", hwnas.table, "--table", str(tmp_path / "other.sqlite"), "--json"
    )

    assert code == merged == 0
    assert json.loads(out)["rows"] == json.loads(out_merged)["rows"] > 60
    assert len(csv.read_text().splitlines()) == json.loads(out)["rows"] + 1


@pytest.mark.parametrize("command", ["doctor", "targets", "spaces"])
def test_listing_commands_print_json(hwnas, command):
    code, out, _ = hwnas(command, "--json")

    assert code == 0
    assert json.loads(out)


def test_measure_of_a_missing_model_is_one_line(hwnas, tmp_path):
    code, _, err = hwnas("measure", str(tmp_path / "none.onnx"), "--table", hwnas.table)

    assert code == 1
    assert "does not exist" in err


def test_measure_of_something_that_is_no_model_is_one_line(hwnas, tmp_path):
    model = tmp_path / "bad.onnx"
    model.write_bytes(b"\x00" * 64)

    code, _, err = hwnas("measure", str(model), "--table", hwnas.table)

    assert code == 1
    assert "ONNX Runtime refuses the model" in err


def test_a_model_of_another_runtime_is_sent_to_the_target_that_takes_it(hwnas, tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(b"\x1c\x00\x00\x00TFL3")

    code, _, err = hwnas("measure", str(model), "--table", hwnas.table)

    assert code == 1
    assert "target 'cpu' measures .onnx files" in err
    assert "litert-cpu" in err


@pytest.mark.parametrize("before", [None, "127.0.0.1:2"])
def test_the_tracker_of_one_command_is_not_that_of_the_next(hwnas, monkeypatch, before):
    monkeypatch.setenv("HWNAS_TRACKER", before or "")
    if before is None:
        monkeypatch.delenv("HWNAS_TRACKER")

    code, _, err = hwnas("device", "list", "--tracker", "127.0.0.1:1")

    assert code == 1
    assert "no tracker answers at 127.0.0.1:1" in err
    assert os.environ.get("HWNAS_TRACKER") == before


def test_the_seed_reaches_the_search(hwnas, tmp_path):
    arguments = (*SEARCH, *FAST, "--table", hwnas.table)

    for seed in ("1", "2"):
        hwnas(*arguments, "--seed", seed, "-o", str(tmp_path / seed))

    runs = [json.loads((tmp_path / seed / "run.json").read_text()) for seed in ("1", "2")]
    histories = [(tmp_path / seed / "history.parquet").read_bytes() for seed in ("1", "2")]
    assert [run["seed"] for run in runs] == [1, 2]
    assert histories[0] != histories[1]


def test_a_published_table_is_imported_and_what_it_is_worth_is_shown(hwnas, tmp_path):
    space = get_space("mbconv-digits")
    rows = space.sample(40, np.random.default_rng(0)).tolist()
    table = tmp_path / "networks.csv"
    lines = [f"{' '.join(map(str, row))},{1 + sum(row) / 10}" for row in rows]
    table.write_text("arch,latency_ms\n" + "\n".join(lines) + "\nx,-1\n")
    command = ("table", "import", str(table), "--target", "pixel_3", "--space", "mbconv-digits")

    refused = hwnas(*command, "--table", hwnas.table)
    code, out, err = hwnas(*command, "--table", hwnas.table, "--skip-bad", "--json")

    assert refused[0] == 1
    assert "row 42: latency_ms is -1" in refused[2]
    found = json.loads(out)
    assert code == 0
    assert found["source"] == "published: networks"
    assert found["fit"]["networks"] == 40
    assert 0.0 <= found["fit"]["left_out_w10"] <= 1.0
    assert "1 bad rows left out" in err
