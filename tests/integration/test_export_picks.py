"""Exports of one real, very short search: every pick is measured and says so."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from hwnas.costs import CostTable
from hwnas.errors import ExportError
from hwnas.pipeline.exporting import export_run
from hwnas.pipeline.requests import Limit, SearchRequest
from hwnas.pipeline.searching import search
from hwnas.profiling import Protocol


@pytest.fixture(scope="module")
def short_search(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("search")
    request = SearchRequest(
        "mbconv-digits",
        limits=(Limit("latency_s", 0.9, is_share=True),),
        evaluations=10,
        population=5,
        training={"epochs": 1},
    )
    with CostTable(folder / "costs.sqlite") as table:
        search(request, folder / "run", table, protocol=Protocol(limit_s=5.0, instances=1))
    return folder / "run", folder / "costs.sqlite"


@pytest.mark.parametrize("pick", ["chosen", "fastest"])
def test_an_exported_pick_has_a_measured_latency_and_runs(short_search, tmp_path, pick):
    run, path = short_search

    with CostTable(path) as table:
        receipt = export_run(run, tmp_path / "export", pick=pick, table=table)

    said = json.loads((tmp_path / "export" / "receipt.json").read_text())
    assert said["measured"]["latency_s"]["provenance"] == "measured"
    assert said["budget_kept"] == receipt.budget_kept
    assert said["numerics"]["max_abs_difference"] <= 1e-4
    session = ort.InferenceSession(tmp_path / "export" / "model.onnx")
    name = session.get_inputs()[0].name
    assert session.run(None, {name: np.zeros((3, 1, 32, 32), np.float32)})[0].shape == (3, 10)


def test_fine_tuning_changes_the_weights_but_not_the_network(short_search, tmp_path):
    run, path = short_search

    with CostTable(path) as table:
        plain = export_run(run, tmp_path / "plain", table=table)
        tuned = export_run(run, tmp_path / "tuned", table=table, finetune_epochs=1)

    assert plain.architecture == tuned.architecture
    assert plain.files["model.onnx"].sha256 != tuned.files["model.onnx"].sha256
    assert tuned.how["accuracy.test"] != plain.how["accuracy.test"]


def test_an_unknown_pick_lists_the_known_ones(short_search, tmp_path):
    with pytest.raises(ExportError, match="chosen, best"):
        export_run(short_search[0], tmp_path / "export", pick="nope")

    assert not (tmp_path / "export").exists()
