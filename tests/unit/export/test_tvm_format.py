"""The `tvm` and `c` formats: what they write runs, and the receipt claims no more than that."""

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.errors import ExportError, LoweringError, TargetError
from hwnas.export import (
    Accuracy,
    Deployment,
    ExportRequest,
    ReceiptFacts,
    c_format,
    export_model,
    read_receipt,
)
from hwnas.lowering import random_weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.search.run_records import CostFigure, TargetRecord
from hwnas.spaces import get_space
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.messages import CodeTarget

pytestmark = [
    pytest.mark.skipif(not find_tvm().works, reason=f"TVM: {find_tvm().found}"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]

FACTS = ReceiptFacts(
    target=TargetRecord("cpu", "0123456789abcdef", "a processor", 1),
    accuracy={"test": Accuracy(0.94, 360)},
    predicted={
        "latency_s": CostFigure(1e-3, "modelled"),
        "memory_bytes": CostFigure(4096.0, "modelled"),
    },
    measured={"latency_s": CostFigure(1.1e-3, "measured", 1.0e-3, 1.2e-3, 2e-5, 40)},
    how={
        "accuracy.test": "Share of 360 test images.",
        "predicted.latency_s": "Sum of measured blocks.",
        "predicted.memory_bytes": "Counted.",
        "measured.latency_s": "Median of 40 runs.",
    },
    budgets={"latency_s": 2e-3},
    budget_kept=True,
)
PI = Deployment(
    TargetRecord("raspberry_pi_4", "fedcba9876543210", "a board", 1),
    CodeTarget("cortex-a72", "aarch64-linux-gnu"),
)
needs_cross = pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None, reason="g++-aarch64-linux-gnu is not installed"
)


@pytest.fixture(scope="module")
def request_():
    space, rng = get_space("mbconv-digits@16"), np.random.default_rng(0)
    architecture = space.smallest()
    graph = space.network(architecture)
    weights = random_weights(graph, rng)
    weights["classifier/classifier/weight"] *= np.float32(0.1)
    images = rng.standard_normal((3, 1, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        logits = TorchModule(graph, weights).eval()(torch.from_numpy(images)).numpy()
    assert logits.std() > 0.05
    return ExportRequest(space, architecture, weights, images, logits, FACTS)


@pytest.fixture(scope="module")
def native(request_, tmp_path_factory):
    folder = tmp_path_factory.mktemp("native") / "out"
    return folder, export_model(request_, folder, "tvm")


@pytest.fixture(scope="module")
def source(request_, tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "out"
    return folder, export_model(request_, folder, "c")


def test_a_library_is_run_from_its_file_and_agrees(native):
    folder, receipt = native

    assert (folder / "model.so").read_bytes()[:4] == b"\x7fELF"
    assert receipt.numerics.max_abs_difference <= 1e-4
    assert receipt.numerics.runtime.startswith("tvm ")
    assert read_receipt(folder) == receipt
    runner = {name for name in receipt.files if name.startswith("runner/")}
    assert runner == {"runner/CMakeLists.txt", "runner/README.md", "runner/main.cpp"}


def test_a_receipt_of_untuned_code_says_so_and_claims_no_latency(native):
    _, receipt = native

    assert any(note.startswith("Untuned code: slow.") for note in receipt.notes)
    assert receipt.measured == {}
    assert set(receipt.predicted) == {"memory_bytes"}
    assert receipt.how["measured.latency_s"].startswith("Left out: ")
    assert receipt.budgets == {}
    assert receipt.budget_kept is None


def test_a_receipt_names_the_processor_that_code_was_made_for(request_, tmp_path):
    generic = Deployment(FACTS.target, CodeTarget("x86-64", "x86_64-linux-gnu"))

    receipt = export_model(
        dataclasses.replace(request_, deployment=generic), tmp_path / "out", "tvm"
    )

    assert any("'x86-64', x86_64-linux-gnu" in note for note in receipt.notes)
    assert receipt.numerics.max_abs_difference <= 1e-4


@needs_cross
def test_a_library_for_another_architecture_that_cannot_be_run_here_says_what_was_run(
    request_, tmp_path, monkeypatch
):
    monkeypatch.delenv("HWNAS_TVM_AARCH64", raising=False)

    receipt = export_model(dataclasses.replace(request_, deployment=PI), tmp_path / "out", "tvm")

    machine = int.from_bytes((tmp_path / "out" / "model.so").read_bytes()[18:20], "little")
    assert machine == 183  # EM_AARCH64
    assert receipt.target == PI.target
    assert "the same module compiled for this machine" in receipt.numerics.runtime
    assert any("model.so itself was not run" in note for note in receipt.notes)


@pytest.mark.parametrize(("batch", "precision"), [(1, "float32"), (2, "float16")])
def test_a_library_for_a_gpu_holds_its_kernels_and_is_checked_on_what_is_here(
    request_, tmp_path, batch, precision
):
    target = TargetRecord("nvidia_h200", "fedcba9876543210", "a GPU", 1)
    code = CodeTarget(cuda="sm_90", precision=precision)
    gpu = Deployment(target, code, costs_by_tvm=True, batch=batch)

    receipt = export_model(dataclasses.replace(request_, deployment=gpu), tmp_path / "out", "tvm")

    content = (tmp_path / "out" / "model.so").read_bytes()
    assert content[:4] == b"\x7fELF"
    assert b"kernel" in content
    assert receipt.target == target
    assert not any(name.startswith("runner/") for name in receipt.files)
    assert any("kernels for sm_90, of default schedules" in note for note in receipt.notes)
    assert any(f"a batch of shape {batch}x1x16x16" in note for note in receipt.notes)
    assert receipt.measured == {}
    assert (receipt.numerics.tolerance > 1e-4) == (precision != "float32")
    if "CPU" in receipt.numerics.runtime:  # no such GPU is here
        assert "the same module compiled for this machine" in receipt.numerics.runtime
        assert any("TVM sees no GPU of sm_90 here" in note for note in receipt.notes)


def test_a_tuned_library_for_a_gpu_says_how_many_kernels_are_tuned(request_, tmp_path, caplog):
    from hwnas.tvm_worker.building import target_of  # they import TVM
    from hwnas.tvm_worker.kernels import kernels_of
    from hwnas.tvm_worker.relax_module import fuse, import_onnx
    from hwnas.tvm_worker.tuning.gpu_records import GpuRecords

    target = TargetRecord("nvidia_h200", "fedcba9876543210", "a GPU", 1)
    code, folder = CodeTarget(cuda="sm_90"), tmp_path / "records"
    content = model_bytes(request_.space.network(request_.architecture), request_.weights)
    kernels = list(kernels_of(fuse(import_onnx(content))).values())
    records = GpuRecords(folder, target_of(code))
    for kernel in kernels[1:]:
        records.add(kernel.function, "fallback", 1.0, ("fallback",))
    gpu = Deployment(target, code, folder, tuned_as="nvidia_h200", costs_by_tvm=True)

    receipt = export_model(dataclasses.replace(request_, deployment=gpu), tmp_path / "out", "tvm")

    assert any(f"sm_90, {len(kernels) - 1} of them tuned" in note for note in receipt.notes)
    assert f"1 of {len(kernels)} kernels have no tuning record" in caplog.text
    assert "profile a space with --target nvidia_h200 first" in caplog.text


def test_a_processor_that_llvm_does_not_know_is_refused(request_, tmp_path):
    wrong = Deployment(FACTS.target, CodeTarget("pentagram", "x86_64-linux-gnu"))

    with pytest.raises(TargetError, match="LLVM knows no processor 'pentagram'"):
        export_model(dataclasses.replace(request_, deployment=wrong), tmp_path / "out", "tvm")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("format", "error"), [("tvm", TargetError), ("c", ExportError)])
def test_without_a_compiler_the_package_to_install_is_named(
    request_, tmp_path, monkeypatch, format, error
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("hwnas.tvm_worker.cross_compiling.find_spec", lambda _: None)

    with pytest.raises(error, match="apt-get install g"):
        export_model(request_, tmp_path / "out", format)


def test_c_source_compiles_without_warnings_and_agrees(source, tmp_path):
    folder, receipt = source

    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pedantic"]
    done = subprocess.run(
        [*command, "-Werror", "-c", folder / "model.c", "-o", tmp_path / "model.o"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert receipt.numerics.max_abs_difference <= 1e-4
    assert set(receipt.files) == {"architecture.json", "main.c", "model.c", "model.h", "weights.h"}


def test_c_source_stays_inside_its_memory(source, request_, tmp_path):
    folder, _ = source
    request_.images.tofile(tmp_path / "x.f32")

    subprocess.run(
        [
            *("gcc", "-std=c99", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover"),
            *(folder / "main.c", folder / "model.c", "-lm", "-o", tmp_path / "main"),
        ],
        check=True,
    )
    subprocess.run([tmp_path / "main", tmp_path / "x.f32", tmp_path / "y.f32"], check=True)

    got = np.fromfile(tmp_path / "y.f32", np.float32).reshape(request_.logits.shape)
    np.testing.assert_allclose(got, request_.logits, atol=1e-4)


def test_c_source_uses_no_library_but_libm(source):
    text = (source[0] / "model.c").read_text()

    included = {line.split()[1] for line in text.splitlines() if line.startswith("#include")}
    assert included == {'"model.h"', "<math.h>", "<stdbool.h>", "<stdint.h>", '"weights.h"'}


def test_c_notes_state_memory_that_the_source_has(source):
    folder, receipt = source
    arena = next(
        line for line in (folder / "model.c").read_text().splitlines() if "float arena[" in line
    )
    floats = int(arena.partition("[")[2].partition("]")[0])

    assert receipt.notes[0].startswith(f"RAM: {4 * floats} bytes")
    assert receipt.notes[1].startswith("Flash: ")
    assert receipt.measured == {}


@needs_cross
@pytest.mark.skipif(shutil.which("qemu-aarch64") is None, reason="qemu-user is not installed")
def test_c_source_agrees_on_aarch64(request_, tmp_path):
    receipt = export_model(dataclasses.replace(request_, deployment=PI), tmp_path / "out", "c")

    assert "for aarch64, emulated by qemu" in receipt.numerics.runtime
    assert receipt.numerics.max_abs_difference <= 1e-4
    written = json.loads((tmp_path / "out" / "receipt.json").read_text())
    assert written["target"]["name"] == "raspberry_pi_4"


def test_weights_too_large_for_source_text_are_refused(request_, tmp_path, monkeypatch):
    monkeypatch.setattr(c_format, "LARGEST_WEIGHT_BYTES", 1000)

    with pytest.raises(LoweringError, match="bytes of weights; as C text at most 1000"):
        export_model(request_, tmp_path / "out", "c")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["tvm", "c"])
def test_a_difference_to_the_trained_network_is_found(request_, tmp_path, format):
    other = dataclasses.replace(request_, logits=request_.logits + np.float32(0.25))

    with pytest.raises(ExportError, match=r"differs .* by 0\.25 in a logit"):
        export_model(other, tmp_path / "out", format)
