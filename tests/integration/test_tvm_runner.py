"""The C++ program beside an exported library: built with CMake, run, compared."""

import shutil
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import torch

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.lowering import random_weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import get_space
from hwnas.tvm_worker import TvmWorker, find_tvm
from hwnas.tvm_worker.messages import CodeTarget, ExportedLibrary, ExportLibrary

pytestmark = [
    pytest.mark.skipif(not find_tvm().works, reason=f"TVM: {find_tvm().found}"),
    *(
        pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")
        for tool in ("cmake", "g++")
    ),
]

RUNNER = files("hwnas.export") / "tvm_runner"
SHAPE = "1x1x16x16"


def run(*command):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=250
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A library, images, and the logits of the network in torch."""
    folder = tmp_path_factory.mktemp("runner")
    space, rng = get_space("mbconv-digits@16"), np.random.default_rng(0)
    graph = space.network(space.smallest())
    weights = random_weights(graph, rng)
    images = rng.standard_normal((4, 1, 16, 16), dtype=np.float32)
    with torch.inference_mode():
        logits = TorchModule(graph, weights).eval()(torch.from_numpy(images)).numpy()
    library = ExportLibrary(model_bytes(graph, weights), CodeTarget(), str(folder / "model.so"))
    with TvmWorker() as worker:
        worker.request(library, ExportedLibrary)
    images.tofile(folder / "images.f32")
    return folder, logits


@pytest.fixture(scope="module")
def runner(exported):
    folder, _ = exported
    build = folder / "build"
    done = run("cmake", "-S", RUNNER, "-B", build, f"-DPython3_EXECUTABLE={sys.executable}")
    assert done.returncode == 0, done.stderr
    done = run("cmake", "--build", build)
    assert done.returncode == 0, done.stdout + done.stderr
    return build / "runner"


def test_the_runner_gives_the_logits_of_the_trained_network(exported, runner):
    folder, logits = exported

    done = run(runner, folder / "model.so", SHAPE, folder / "images.f32", folder / "logits.f32", 3)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 images, median ")
    got = np.fromfile(folder / "logits.f32", np.float32).reshape(logits.shape)
    assert logits.std() > 0.1
    np.testing.assert_allclose(got, logits, atol=1e-4 * np.abs(logits).max())


def test_the_runner_links_only_the_runtime(runner):
    linked = run("ldd", runner).stdout

    assert "libtvm_runtime" in linked
    assert "libtvm_ffi" in linked
    assert "libtvm_compiler" not in linked
    assert "libpython" not in linked


@pytest.mark.parametrize(
    ("shape", "images", "says"),
    [
        ("1x1x16", "images.f32", "no whole number|mismatch|ndim"),
        ("1x1x32x8", "images.f32", "mismatch"),
        ("1x1x15x16", "images.f32", "no whole number of inputs"),
        ("big", "images.f32", "is no shape"),
        (SHAPE, "missing.f32", "cannot read"),
    ],
)
def test_the_runner_says_what_is_wrong(exported, runner, shape, images, says):
    folder, _ = exported

    done = run(runner, folder / "model.so", shape, folder / images, folder / "unused.f32")

    assert done.returncode == 1
    assert any(word in done.stderr for word in says.split("|")), done.stderr
