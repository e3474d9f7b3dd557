import dataclasses
import errno
import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from hwnas.errors import ExportError, LoweringError
from hwnas.export import (
    EXPORTERS,
    Accuracy,
    ExportRequest,
    ReceiptFacts,
    Written,
    export_model,
    onnx_format,
    read_receipt,
)
from hwnas.lowering import random_weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.search.run_records import CostFigure, TargetRecord
from hwnas.spaces import get_space

FACTS = ReceiptFacts(
    target=TargetRecord("cpu", "0123456789abcdef", "a processor", 1),
    accuracy={"validation": Accuracy(0.95, 300), "test": Accuracy(0.94, 360)},
    predicted={
        "latency_s": CostFigure(1e-3, "modelled"),
        "energy_j": CostFigure(2e-3, "modelled"),
    },
    measured={"latency_s": CostFigure(1.1e-3, "measured", 1.0e-3, 1.2e-3, 2e-5, 40)},
    how={
        "accuracy.validation": "Share of 300 validation images.",
        "accuracy.test": "Share of 360 test images.",
        "predicted.latency_s": "Sum of measured blocks.",
        "predicted.energy_j": "Operations and bytes times published constants.",
        "measured.latency_s": "Median of 40 runs.",
    },
    budgets={"latency_s": 2e-3},
    budget_kept=True,
    energy_statement="Energy is modelled and ranks networks of one target only.",
)

NEEDS_LITERT = pytest.mark.skipif(
    find_spec("ai_edge_litert") is None, reason="ai-edge-litert is not installed"
)
FORMATS = [
    pytest.param(name, marks=NEEDS_LITERT if name == "tflite" else ())
    for name in sorted(EXPORTERS)
]


@pytest.fixture(scope="module")
def request_():
    space = get_space("mbconv-digits@16")
    rng = np.random.default_rng(0)
    architecture = space.architecture(space.sample(1, rng)[0])
    graph = space.network(architecture)
    weights = random_weights(graph, rng)
    weights["classifier/classifier/weight"] *= np.float32(0.1)
    images = rng.random((5, 1, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        logits = TorchModule(graph, weights).eval()(torch.from_numpy(images)).numpy()
    return ExportRequest(space, architecture, weights, images, logits, FACTS)


def names(folder):
    return sorted(file.name for file in Path(folder).iterdir())


def test_an_onnx_export_holds_a_model_without_batch_norm_that_gives_the_same_logits(
    request_, tmp_path
):
    export_model(request_, tmp_path / "out")

    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["architecture.json", "model.onnx", "receipt.json"]
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [value.name for value in model.graph.input] == ["input"]
    assert model.opset_import[0].version == 18
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert properties["hwnas.space"] == "mbconv-digits@16"
    assert json.loads(properties["hwnas.architecture"]) == list(request_.architecture.indices)
    assert properties["hwnas.version"]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_an_onnx_export_takes_any_batch_size(request_, tmp_path, n):
    export_model(request_, tmp_path / "out")

    session = ort.InferenceSession(tmp_path / "out" / "model.onnx")
    logits = session.run(None, {"input": request_.images[:n]})[0]

    np.testing.assert_allclose(logits, request_.logits[:n], atol=1e-4)


@pytest.mark.parametrize("format", ["onnx", "torch"])  # others may leave out costs of the request
def test_the_receipt_says_all_and_reads_back(request_, tmp_path, format):
    receipt = export_model(request_, tmp_path / "out", format)

    assert read_receipt(tmp_path / "out") == receipt
    assert receipt.format == format
    assert receipt.space == "mbconv-digits@16"
    assert receipt.architecture == list(request_.architecture.indices)
    assert receipt.accuracy["test"] == Accuracy(0.94, 360)
    assert receipt.measured["latency_s"].repeats == 40
    assert receipt.predicted["energy_j"].provenance == "modelled"
    assert receipt.energy_statement == FACTS.energy_statement
    assert receipt.budgets == {"latency_s": 2e-3}
    assert receipt.budget_kept is True
    assert receipt.target == FACTS.target
    assert receipt.numerics.max_abs_difference <= 1e-4
    assert receipt.numerics.images == 5
    assert receipt.how.keys() == FACTS.how.keys() | {"numerics"}
    assert receipt.date.endswith("+00:00")
    content = (tmp_path / "out" / receipt.model).read_bytes()
    assert receipt.files[receipt.model].sha256 == hashlib.sha256(content).hexdigest()
    assert receipt.files[receipt.model].size_bytes == len(content)


def test_the_architecture_file_rebuilds_the_architecture(request_, tmp_path):
    export_model(request_, tmp_path / "out")

    written = json.loads((tmp_path / "out" / "architecture.json").read_text())

    assert written["space"] == request_.space.name
    assert request_.space.architecture(written["architecture"]) == request_.architecture
    assert request_.space.from_options(written["options"]) == request_.architecture


def test_a_torch_export_loads_without_running_code(request_, tmp_path):
    export_model(request_, tmp_path / "out", "torch")

    tensors = torch.load(tmp_path / "out" / "model.pt", weights_only=True)

    assert set(tensors) == set(request_.space.network(request_.architecture).weights)


def test_an_unknown_format_lists_those_that_are_there(request_, tmp_path):
    with pytest.raises(ExportError, match=r"unknown format 'coreml'; available: .*onnx, .*tflite"):
        export_model(request_, tmp_path / "out", "coreml")
    assert names(tmp_path) == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_model_that_differs_is_not_kept_and_the_difference_is_named(request_, tmp_path, format):
    other = dataclasses.replace(request_, logits=request_.logits + np.float32(0.25))

    with pytest.raises(ExportError, match=r"differs .* by 0\.25 in a logit, allowed is 0\.0001"):
        export_model(other, tmp_path / "out", format)
    assert names(tmp_path) == []


def test_a_model_that_gives_nan_is_not_kept(request_, tmp_path, monkeypatch):
    nan = Written("model.x", np.full_like(request_.logits, np.nan), "nothing")
    monkeypatch.setitem(EXPORTERS, "nan", lambda request, folder: nan)

    with pytest.raises(ExportError, match="differs"):
        export_model(request_, tmp_path / "out", "nan")


def test_an_earlier_export_is_replaced_and_kept_when_the_new_one_fails(request_, tmp_path):
    first = export_model(request_, tmp_path / "out")
    other = dataclasses.replace(request_, logits=request_.logits + np.float32(1))

    with pytest.raises(ExportError):
        export_model(other, tmp_path / "out")
    kept = read_receipt(tmp_path / "out")
    export_model(request_, tmp_path / "out", "torch")

    assert kept == first
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["architecture.json", "model.pt", "receipt.json"]


def test_a_folder_of_other_things_is_left_alone(request_, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")

    with pytest.raises(ExportError, match="no earlier export"):
        export_model(request_, tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


def test_an_export_beside_a_file_of_the_user_is_left_alone(request_, tmp_path):
    export_model(request_, tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("x")

    with pytest.raises(ExportError, match=r"'notes\.txt' beside an earlier export"):
        export_model(request_, tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").exists()


def test_an_empty_folder_is_taken_and_a_file_or_link_is_not(request_, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "empty")

    export_model(request_, tmp_path / "empty")

    for name in ("file", "link"):
        with pytest.raises(ExportError, match="not a folder"):
            export_model(request_, tmp_path / name)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses_leaves_the_earlier_export(request_, tmp_path, monkeypatch, code):
    first = export_model(request_, tmp_path / "out")

    def refuse(path, content):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(ExportError, match="disk is full" if code == errno.ENOSPC else "cannot"):
        export_model(request_, tmp_path / "out")

    assert read_receipt(tmp_path / "out") == first
    assert names(tmp_path) == ["out"]


def test_a_failed_move_puts_the_earlier_export_back(request_, tmp_path, monkeypatch):
    first = export_model(request_, tmp_path / "out")
    rename = Path.rename

    def refuse(path, target):
        if path.name.endswith(".part"):
            raise OSError(errno.EIO, "broken")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ExportError, match="broken"):
        export_model(request_, tmp_path / "out")

    assert read_receipt(tmp_path / "out") == first
    assert names(tmp_path) == ["out"]


def test_a_missing_weight_leaves_nothing(request_, tmp_path):
    weights = {n: a for n, a in request_.weights.items() if n != "stem/conv/weight"}

    with pytest.raises(LoweringError, match="stem/conv/weight"):
        export_model(dataclasses.replace(request_, weights=weights), tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.empty((0, 1, 16, 16), np.float32)}, "no sample images"),
        ({"images": np.zeros((5, 1, 32, 32), np.float32)}, "takes"),
        ({"logits": np.zeros((4, 10), np.float32)}, "logits of shape"),
        ({"logits": np.zeros((5, 9), np.float32)}, r"\(5, 9\): .* gives \(n, 10\)"),
        ({"logits": np.full((5, 10), np.nan, np.float32)}, "not finite"),
    ],
)
def test_a_malformed_request_is_refused(request_, tmp_path, changes, message):
    with pytest.raises(ExportError, match=message):
        export_model(dataclasses.replace(request_, **changes), tmp_path / "out")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"how": {**FACTS.how, "measured.latency_s": ""}}, r"how measured\.latency_s was"),
        ({"energy_statement": None}, "energy is modelled"),
        ({"budget_kept": None}, "whether they are kept"),
    ],
)
def test_a_number_without_its_origin_is_refused(request_, tmp_path, changes, message):
    facts = msgspec.structs.replace(FACTS, **changes)

    with pytest.raises(ExportError, match=message):
        export_model(dataclasses.replace(request_, facts=facts), tmp_path / "out")
    assert names(tmp_path) == []


def test_a_network_whose_operator_fixes_the_batch_is_exported_for_one_image(
    request_, tmp_path, monkeypatch
):
    monkeypatch.setattr(onnx_format, "_with_symbolic_batch", lambda model: None)

    receipt = export_model(request_, tmp_path / "out")

    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert "batch size is 1" in receipt.notes[0]


def test_a_reshape_to_one_image_fixes_the_batch():
    h = onnx.helper
    shape = onnx.numpy_helper.from_array(np.array([1, 6], np.int64), "shape")
    graph = h.make_graph(
        [h.make_node("Reshape", ["x", "shape"], ["y"])],
        "g",
        [h.make_tensor_value_info("x", 1, (1, 2, 3))],
        [h.make_tensor_value_info("y", 1, (1, 6))],
        [shape],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=10)

    assert onnx_format._with_symbolic_batch(model) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b'{"schema": 1}', b"\xff"])
def test_a_hostile_receipt_is_refused(tmp_path, content):
    (tmp_path / "receipt.json").write_bytes(content)

    with pytest.raises(ExportError):
        read_receipt(tmp_path)


def test_a_receipt_of_another_version_is_refused(request_, tmp_path):
    export_model(request_, tmp_path / "out")
    path = tmp_path / "out" / "receipt.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 2}))

    with pytest.raises(ExportError, match="schema 2"):
        read_receipt(tmp_path / "out")
