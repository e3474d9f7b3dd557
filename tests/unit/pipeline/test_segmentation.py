"""Networks that segment, from training to a model: IoU in every place, and no accuracy."""

import json

import numpy as np
import onnxruntime as ort
import pytest

from hwnas.costs import CostTable
from hwnas.datasets.dataset import load_dataset_for
from hwnas.errors import DataError
from hwnas.pipeline.exporting import export_run
from hwnas.pipeline.requests import Limit, SearchRequest, TrainRequest
from hwnas.pipeline.searching import search
from hwnas.pipeline.summary import run_summary
from hwnas.pipeline.training import train
from hwnas.report import write_report
from hwnas.spaces import get_space

SPACE = "unet@16"


@pytest.fixture(scope="module", autouse=True)
def _few_nuclei():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hwnas.datasets.nuclei.SPLITS", {"train": 64, "val": 20, "test": 20})
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with CostTable(tmp_path_factory.mktemp("table") / "costs.sqlite") as opened:
        yield opened


def request(space=SPACE, **changes):
    arguments = {"data": "nuclei", "evaluations": 10, "population": 5, "training": {"epochs": 1}}
    limits = (Limit("latency_s", 0.6, is_share=True),)
    return SearchRequest(space, "simulated", limits=limits, **(arguments | changes))


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    return search(request(), tmp_path_factory.mktemp("search") / "run", table)


def test_the_error_is_one_minus_the_iou_of_the_split(run):
    space = get_space(SPACE)
    dataset = load_dataset_for(space, "nuclei")
    chosen = run.read_chosen()

    receipt = export_run(run.path, run.path.parent / "model")

    session = ort.InferenceSession(run.path.parent / "model" / receipt.model)
    logits = session.run(None, {session.get_inputs()[0].name: dataset.x_test})[0]
    found, truth = logits > 0, dataset.y_test > 0
    error = 1.0 - (found & truth).sum() / (found | truth).sum()
    assert chosen.error.score == "IoU"
    assert chosen.error.test == pytest.approx(error, abs=1e-3)
    assert receipt.iou["test"].value == pytest.approx(1.0 - error, abs=1e-3)
    assert receipt.iou["test"].images == 20


def test_no_page_or_receipt_calls_it_accuracy(run, tmp_path):
    receipt = export_run(run.path, tmp_path / "model")
    page = write_report(run).read_text()
    _, text = run_summary(run)

    assert receipt.accuracy == {}
    assert receipt.how["iou.test"].startswith("Intersection over union of the foreground")
    assert not [name for name in receipt.how if "accuracy" in name]
    assert "Test IoU" in page
    assert "accuracy" not in page.lower()
    assert "test IoU: " in text
    assert "accuracy" not in text
    assert json.loads((run.path / "chosen.json").read_text())["error"]["score"] == "IoU"


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_model_that_gives_masks_is_written_and_checked(run, tmp_path, format):
    if format == "tflite":
        pytest.importorskip("ai_edge_litert")

    receipt = export_run(run.path, tmp_path / "model", format=format)

    assert receipt.numerics.max_abs_difference <= 1e-4
    assert receipt.numerics.images == 20


def test_networks_trained_by_themselves_are_kept_in_the_run(table, tmp_path):
    wanted = request(estimator="trained", evaluations=2, population=2)

    run = search(wanted, tmp_path / "run", table)

    chosen = run.read_chosen()
    assert chosen.error.score == "IoU"
    assert 0.0 < chosen.error.test < 1.0
    assert "# data: nuclei" in (run.path / "trained.csv").read_text()
    assert run.record.provenance["error"] == "measured"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "resnet9@16"}, "nuclei is for segmentation .* such as unet"),
        ({"data": "digits"}, "digits is for classification .* such as nuclei"),
        ({"recipe": "alphanet"}, "recipe alphanet is for classification, nuclei is data for segm"),
        ({"strategy": "proxyless-rl"}, "strategy proxyless-rl is for classification, nuclei is"),
        ({"estimator": "trained", "data": "digits"}, "digits is for classification"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(table, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        search(request(**changes), tmp_path / "run", table)


@pytest.mark.parametrize("recipe", ["bignas", "spos"])
def test_other_recipes_learn_masks_too(tmp_path, recipe):
    wanted = TrainRequest(SPACE, data="nuclei", recipe=recipe, training={"epochs": 2})

    run = train(wanted, tmp_path / "run")

    header, *rows = (run.path / "training.csv").read_text().splitlines()
    losses = [float(row.split(",")[header.split(",").index("loss")]) for row in rows]
    assert np.isfinite(losses).all()
    assert len(losses) == 2
