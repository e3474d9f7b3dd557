"""From training to a model: one supernet, several searches, and searches that train."""

import json

import numpy as np
import pytest

from hwnas.costs import CostTable
from hwnas.datasets.dataset import load_dataset
from hwnas.errors import DataError, RunError
from hwnas.pipeline.exporting import export_run
from hwnas.pipeline.requests import Limit, SearchRequest, TrainRequest
from hwnas.pipeline.searching import search
from hwnas.pipeline.training import train
from hwnas.report import write_report
from hwnas.search.run_directory import RunDirectory

SPACE = "mbconv-digits@16"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with CostTable(tmp_path_factory.mktemp("table") / "costs.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    return train(TrainRequest(SPACE, recipe="spos", training={"epochs": 1}), out)


def request_with(share, **changes):
    limits = (Limit("latency_s", share, is_share=True),)
    arguments = {"evaluations": 20, "population": 10} | changes
    return SearchRequest(SPACE, "simulated", limits=limits, **arguments)


def test_one_supernet_serves_searches_under_any_budget(trained, table, tmp_path):
    for share in (0.4, 0.7):
        run = search(request_with(share, supernet=trained.path), tmp_path / str(share), table)

        chosen = run.read_chosen()
        assert chosen.budget_kept
        assert chosen.error.test is not None
        receipt = export_run(run.path, tmp_path / f"model{share}", finetune_epochs=1)
        assert receipt.budget_kept
    assert not trained.has("chosen.json")


def test_a_training_run_has_a_log_but_no_search(trained):
    assert (trained.path / "training.csv").read_text().startswith("step,epoch,loss")
    assert list((trained.path / "tensorboard").iterdir())
    assert json.loads((trained.path / "run.json").read_text())["state"] == "finished"
    with pytest.raises(RunError, match="hwnas search --supernet"):
        write_report(trained)
    with pytest.raises(RunError, match="hwnas search --supernet"):
        export_run(trained.path, trained.path / "model")


def test_a_supernet_of_another_space_is_refused(trained, table, tmp_path):
    request = SearchRequest("mbconv-digits", "simulated", supernet=trained.path)

    with pytest.raises(RunError, match=r"of space 'mbconv-digits@16'"):
        search(request, tmp_path / "run", table)


def test_images_that_do_not_fit_a_taken_supernet_are_refused(trained, table, tmp_path):
    images = np.zeros((60, 3, 16, 16), np.float32)
    np.savez(tmp_path / "colour.npz", x=images, y=np.arange(60) % 6)
    request = request_with(0.5, supernet=trained.path, data=f"npz:{tmp_path / 'colour.npz'}")

    with pytest.raises(DataError, match=r"has images of \(3, 16, 16\)"):
        search(request, tmp_path / "run", table)


class KilledError(Exception):
    pass


def test_a_killed_gradient_search_resumes_to_the_same_run(table, tmp_path):
    digits = load_dataset("digits", resolution=16)
    few = {"x": digits.x_train[:300], "y": digits.y_train[:300]}
    np.savez(tmp_path / "few.npz", **few)
    request = request_with(
        0.5,
        strategy="single-path",
        training={"epochs": 2},
        data=f"npz:{tmp_path / 'few.npz'}",
    )
    whole = search(request, tmp_path / "whole", table)

    def kill(text, share):
        if "epoch 1" in text:
            raise KilledError

    with pytest.raises(KilledError):
        search(request, tmp_path / "killed", table, progress=kill)
    resumed = search(request, tmp_path / "killed", table, resume=True)

    assert resumed.read_chosen().architecture == whole.read_chosen().architecture
    assert resumed.read_front() == whole.read_front()
    np.testing.assert_array_equal(
        resumed.read_history().population, whole.read_history().population
    )
    limit = whole.read_chosen().budgets["latency_s"]
    assert all(member.costs["latency_s"] <= limit for member in whole.read_front())
    assert RunDirectory.open(whole.path).has("training.csv")


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    request = TrainRequest(SPACE, training={"batch_size": 4096})

    with pytest.raises(DataError, match="larger than the training split of digits"):
        train(request, tmp_path / "run")
