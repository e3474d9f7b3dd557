import dataclasses
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch

from hwnas.backends.litert_cpu import LitertCpuBackend
from hwnas.errors import ExportError
from hwnas.export import ExportRequest, ReceiptFacts, export_model
from hwnas.lowering import random_weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.search.run_records import CostFigure, TargetRecord
from hwnas.spaces import get_space
from hwnas.targets import get_target

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")

FACTS = ReceiptFacts(
    target=TargetRecord("litert-cpu", "0123456789abcdef", "a processor", 1),
    accuracy={},
    predicted={},
    measured={},
    how={},
)


@pytest.fixture(scope="module")
def request_():
    space = get_space("mbconv-digits@16")
    rng = np.random.default_rng(0)
    architecture = space.architecture(space.sample(1, rng)[0])
    graph = space.network(architecture)
    weights = random_weights(graph, rng)
    images = rng.random((3, 1, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        logits = TorchModule(graph, weights).eval()(torch.from_numpy(images)).numpy()
    return ExportRequest(space, architecture, weights, images, logits, FACTS)


def test_the_file_in_the_folder_is_the_one_that_the_target_measures(request_, tmp_path):
    export_model(request_, tmp_path / "out", "tflite")

    graph = request_.space.network(request_.architecture)
    measured = LitertCpuBackend().compile(graph, request_.weights, get_target("litert-cpu"))
    assert (tmp_path / "out" / "model.tflite").read_bytes() == measured.model


def test_the_receipt_says_how_an_image_goes_in(request_, tmp_path):
    receipt = export_model(request_, tmp_path / "out", "tflite")

    assert receipt.model == "model.tflite"
    assert receipt.format == "tflite"
    assert receipt.numerics.max_abs_difference <= 1e-4
    assert receipt.numerics.runtime.startswith("litert ")
    assert "xnnpack" in receipt.numerics.runtime
    said = " ".join(receipt.notes)
    assert "'input' is float32 of shape [1, 16, 16, 1]: one image, channels last" in said
    assert "'output' is float32 of shape [1, 10]" in said


def test_a_file_that_differs_from_the_trained_network_is_not_kept(request_, tmp_path):
    other = dataclasses.replace(request_, logits=request_.logits + np.float32(0.25))

    with pytest.raises(ExportError, match=r"differs .* by 0\.25 in a logit"):
        export_model(other, tmp_path / "out", "tflite")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("target", "kept"), [("litert-cpu", True), ("cpu", False)])
def test_only_costs_of_litert_stand_in_the_receipt(request_, tmp_path, target, kept):
    facts = msgspec.structs.replace(
        FACTS,
        target=TargetRecord(target, "0123456789abcdef", "a processor", 1),
        predicted={"latency_s": CostFigure(1e-3, "measured")},
        how={"predicted.latency_s": "Sum of measured blocks."},
    )

    receipt = export_model(dataclasses.replace(request_, facts=facts), tmp_path / "out", "tflite")

    assert ("latency_s" in receipt.predicted) == kept
    assert ("'cpu' are not LiteRT's" in receipt.how["predicted.latency_s"]) != kept


def test_other_formats_do_not_load_litert():
    code = "import sys, hwnas.export; print('ai_edge_litert' in sys.modules)"

    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    assert said == "False\n"
