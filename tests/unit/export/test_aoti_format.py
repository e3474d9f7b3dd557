"""The `aoti` format: a package that torch loads, compiled here for this machine's processor."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from hwnas.errors import LoweringError, TargetError
from hwnas.export import (
    Accuracy,
    Deployment,
    ExportRequest,
    ReceiptFacts,
    aoti_format,
    export_model,
)
from hwnas.lowering import random_weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.pipeline import deployment as deployment_module
from hwnas.pipeline.deployment import deployment_here
from hwnas.search.run_records import CostFigure, TargetRecord
from hwnas.targets import get_target

FACTS = ReceiptFacts(
    target=TargetRecord("cpu", "0123456789abcdef", "a processor", 1),
    accuracy={"test": Accuracy(0.94, 360)},
    predicted={"latency_s": CostFigure(1e-3, "measured")},
    measured={"latency_s": CostFigure(1.1e-3, "measured", 1.0e-3, 1.2e-3, 2e-5, 40)},
    how={
        "accuracy.test": "Share of 360 test images.",
        "predicted.latency_s": "Sum of measured blocks.",
        "measured.latency_s": "Median of 40 runs.",
    },
    budgets={"latency_s": 2e-3},
    budget_kept=True,
)


@pytest.fixture(scope="module")
def request_(space):
    rng = np.random.default_rng(0)
    architecture = space.smallest()
    graph = space.network(architecture)
    weights = random_weights(graph, rng)
    images = rng.standard_normal((3, 1, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        logits = TorchModule(graph, weights).eval()(torch.from_numpy(images)).numpy()
    return ExportRequest(
        space, architecture, weights, images, logits, FACTS, deployment=Deployment(batch=2)
    )


@pytest.fixture(scope="module")
def exported(request_, tmp_path_factory):
    folder = tmp_path_factory.mktemp("aoti") / "out"
    with pytest.MonkeyPatch.context() as patch:  # trying all alternatives takes minutes
        patch.setattr(aoti_format, "_TUNING", {})
        return folder, export_model(request_, folder, "aoti")


def test_a_package_is_run_from_its_file_and_agrees(exported):
    folder, receipt = exported

    assert receipt.model == "model.pt2"
    assert receipt.numerics.images == 3
    assert receipt.numerics.max_abs_difference <= 1e-4
    assert json.loads((folder / "input.json").read_text()) == {
        "device": "cpu",
        "dtype": "float32",
        "shape": [2, 1, 16, 16],
        "channels_last": False,
        "tf32": False,
    }


def test_costs_of_other_code_are_not_claimed(exported):
    receipt = exported[1]

    assert "latency_s" not in receipt.measured
    assert "compiled as a whole" in receipt.how["measured.latency_s"]


def test_the_program_beside_it_runs_it(exported):
    command = [sys.executable, str(exported[0] / "run.py")]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 0, done.stderr
    assert "logits (2, 10) finite True" in done.stdout
    assert "ms a batch" in done.stdout


def test_half_precision_is_allowed_its_rounding(request_):
    form = aoti_format.tensor_form("float16")
    graph = request_.space.network(request_.architecture)

    module = aoti_format.inference_module(graph, request_.weights, form)

    assert {parameter.dtype for parameter in module.parameters()} == {torch.float16}
    assert aoti_format._STEPS["float16"] > 0.0


def test_what_the_compiler_refuses_is_an_error_of_ours(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fails)

    with pytest.raises(LoweringError, match="ahead of time: no compiler"):
        aoti_format.write_package(torch.nn.ReLU(), torch.zeros(1), tmp_path / "model.pt2")


def test_packages_are_compiled_where_the_device_is():
    with pytest.raises(TargetError, match="compiled and tuned on the GPU itself"):
        deployment_here("nvidia_h200", get_target("cpu"))
    with pytest.raises(TargetError, match="'raspberry_pi_4' cannot be compiled here"):
        deployment_here("raspberry_pi_4", get_target("cpu"))
    assert deployment_here(None, get_target("cpu")) == Deployment(
        deployment_module.target_record(get_target("cpu"))
    )
