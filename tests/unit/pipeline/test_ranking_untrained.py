"""Searches by zero-cost proxies, and networks trained from scratch once they are chosen."""

from types import SimpleNamespace

import numpy as np
import pytest

from hwnas.costs import CostTable
from hwnas.errors import ExportError, PluginError
from hwnas.pipeline import network_weights
from hwnas.pipeline.exporting import export_run
from hwnas.pipeline.requests import Limit, SearchRequest
from hwnas.pipeline.searching import search
from hwnas.pipeline.summary import run_summary
from hwnas.report import write_report
from hwnas.spaces import get_space

SPACE = "mbconv-digits@16"


def request_with(**changes):
    limits = (Limit("latency_s", 0.5, is_share=True),)
    arguments = {"evaluations": 8, "population": 4, "estimator": "zero-cost"} | changes
    return SearchRequest(SPACE, "simulated", limits=limits, **arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    with CostTable(folder / "costs.sqlite") as table:
        return search(request_with(proxies=("synflow",)), folder / "run", table)


def test_the_chosen_network_has_a_rank_and_no_accuracy(run):
    chosen = run.read_chosen()
    row = run.read_history()
    best = row.error[row.violation <= 0].min()

    assert chosen.budget_kept
    assert chosen.error.validation is None
    assert chosen.error.test is None
    assert chosen.error.rank_share == pytest.approx(1.0 - best)
    assert run.record.provenance["error"] == "modelled"


def test_summary_and_report_do_not_speak_of_accuracy(run):
    _, text = run_summary(run)
    page = write_report(run).read_text()

    assert "before training: outdoes" in text
    assert "accuracy" not in text
    assert "no rate of wrong answers" in page
    assert "Rank before training" in page


def test_without_training_there_is_nothing_to_export(run, tmp_path):
    with pytest.raises(ExportError, match="--finetune-epochs"):
        export_run(run.path, tmp_path / "model")


def test_the_chosen_network_is_trained_from_scratch_for_its_export(run, tmp_path):
    receipt = export_run(run.path, tmp_path / "model", finetune_epochs=2)

    assert receipt.accuracy["test"].value > 0.15  # ten classes
    assert "trained from scratch" in receipt.how["accuracy.test"]
    assert (tmp_path / "model" / receipt.model).is_file()


def test_proxies_are_checked_before_anything_is_profiled(tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as table:
        with pytest.raises(PluginError, match="unknown proxy 'luck'"):
            search(request_with(proxies=("luck",)), tmp_path / "run", table)
        with pytest.raises(PluginError, match="goes by no proxies"):
            search(request_with(proxies=("snip",), estimator="synthetic"), tmp_path / "run", table)
        assert not list(table.rows())


def test_a_network_for_smaller_images_than_the_largest_is_trained_from_scratch_too(
    tmp_path, monkeypatch
):
    space, data = get_space("ofa-mbv3"), tmp_path / "few.npz"
    images = np.random.default_rng(0).standard_normal((60, 3, 224, 224), dtype=np.float32)
    np.savez(data, x=images, y=np.arange(60) % 10)
    run = SimpleNamespace(
        record=SimpleNamespace(arguments={"data": f"npz:{data}", "estimator": "zero-cost"}),
        supernet_path=tmp_path / "supernet.pt",
        has=lambda _: False,
    )
    monkeypatch.setattr(network_weights, "train_alone", lambda *_, **__: {})

    found = network_weights.network_weights(run, space, space.smallest(), epochs=1, seed=0)

    assert found.dataset.image_shape == (3, 128, 128)
    assert "trained from scratch" in found.how["test"]
