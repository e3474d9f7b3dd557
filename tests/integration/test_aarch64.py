"""The way to an aarch64 board without one: cross-compiled here, run by an emulated processor.

Emulated runs show that the code is right. Their times are those of no device, and no test looks
at them. Needed: a cross compiler, qemu-user, and the published aarch64 packages of TVM, which pip
fetches; where it cannot, HWNAS_AARCH64_WHEELS names a folder that holds them. The server under
emulation needs a command that runs an aarch64 Python with these packages, numpy, msgspec, psutil,
cloudpickle, tornado and typing_extensions, named by HWNAS_AARCH64_PYTHON; docs/devices.md says how
to make one.
"""

import importlib.util
import os
import select
import shutil
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.errors import MeasurementError
from hwnas.lowering import random_weights
from hwnas.spaces import get_space
from hwnas.tvm_worker import TvmWorker, find_tvm
from hwnas.tvm_worker.devices.facts import elf_machine
from hwnas.tvm_worker.devices.process import DeviceProcess
from hwnas.tvm_worker.devices.tracker import ask_tracker
from hwnas.tvm_worker.messages import (
    Array,
    BuildForDevice,
    BuiltForDevice,
    CodeTarget,
    ExportedLibrary,
    ExportLibrary,
    Results,
    RunOnDevice,
    TimeChainOnDevice,
    TimedOnDevice,
)

if not find_tvm().works:
    pytest.skip(f"{find_tvm().found}: {find_tvm().remedy}", allow_module_level=True)

CODE = CodeTarget("cortex-a72", "aarch64-linux-gnu", ("+neon",), 1)
COMPILER = "aarch64-linux-gnu-g++"
PACKAGES = ("apache-tvm", "apache-tvm-ffi")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_24_aarch64")
LIBRARIES = ("tvm/lib/libtvm_runtime.so", "tvm_ffi/lib/libtvm_ffi.so")
SYSTEM = "/usr/aarch64-linux-gnu"
EMULATOR_S = 300
DOWNLOAD_S = 300
RUNNER = r"""
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <cstdio>
#include <cstdlib>
#include <vector>
namespace ffi = tvm::ffi;
struct Heap {
  void AllocData(DLTensor* tensor) { tensor->data = std::aligned_alloc(64, 1 << 20); }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};
int main(int count, char** words) {
  ffi::Module library = ffi::Module::LoadFromFile(words[1]);
  ffi::Module machine = (*library->GetFunction("vm_load_executable"))().cast<ffi::Module>();
  (*machine->GetFunction("vm_initialization"))(1, 0, 2);
  std::vector<int64_t> sides;
  for (int i = 4; i < count; ++i) sides.push_back(std::atoll(words[i]));
  ffi::Tensor image = ffi::Tensor::FromNDAlloc(
      Heap{}, ffi::Shape(sides), DLDataType{kDLFloat, 32, 1}, DLDevice{kDLCPU, 0});
  FILE* in = std::fopen(words[2], "rb");
  std::fread(image.data_ptr(), 4, image.numel(), in);
  std::fclose(in);
  ffi::Tensor logits = (*machine->GetFunction("main"))(image).cast<ffi::Tensor>();
  FILE* out = std::fopen(words[3], "wb");
  std::fwrite(logits.data_ptr(), 4, logits.numel(), out);
  std::fclose(out);
}
"""


@pytest.fixture(scope="module")
def worker():
    with TvmWorker() as running:
        yield running


@pytest.fixture(scope="module")
def emulator():
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is missing: apt-get install g++-aarch64-linux-gnu")
    found = shutil.which("qemu-aarch64")
    if found is None:
        pytest.skip("qemu-aarch64 is missing: apt-get install qemu-user")
    return found


@pytest.fixture(scope="module")
def model():
    space, rng = get_space("mbconv-digits"), np.random.default_rng(0)
    graph = space.network(space.architecture(space.sample(1, rng)[0]))
    return model_bytes(graph, random_weights(graph, rng))


@pytest.fixture(scope="module")
def image(model):
    sides = onnx.load_model_from_string(model).graph.input[0].type.tensor_type.shape.dim
    shape = [side.dim_value for side in sides]
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def wanted(model, image):
    session = ort.InferenceSession(model)
    return session.run(None, {session.get_inputs()[0].name: image})[0]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """Folder of TVM's packages for aarch64, of the versions that are installed here."""
    named = os.environ.get("HWNAS_AARCH64_WHEELS")
    if named:
        return Path(named)
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--only-binary=:all:", "--dest", str(folder)]
    command += ["--python-version", f"{sys.version_info.major}.{sys.version_info.minor}"]
    command += [word for platform in PLATFORMS for word in ("--platform", platform)]
    command += [f"{package}=={metadata.version(package)}" for package in PACKAGES]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip did not fetch the aarch64 packages of TVM in {DOWNLOAD_S} s")
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        pytest.skip(f"pip cannot fetch the aarch64 packages of TVM: {said}")
    return folder


@pytest.fixture(scope="module")
def runtime(emulator, wheels, tmp_path_factory):
    """Folder of TVM's runtime for aarch64."""
    folder = tmp_path_factory.mktemp("runtime")
    for wheel in wheels.glob("apache_tvm*aarch64.whl"):
        with zipfile.ZipFile(wheel) as opened:
            for name in set(LIBRARIES).intersection(opened.namelist()):
                (folder / Path(name).name).write_bytes(opened.read(name))
    missing = [name for name in LIBRARIES if not (folder / Path(name).name).is_file()]
    if missing:
        pytest.skip(f"{wheels} holds no aarch64 package with {', '.join(missing)}")
    return folder


def test_library_runs_under_emulation_with_the_results_of_onnx_runtime(
    worker, emulator, runtime, model, image, wanted, tmp_path
):
    library, runner = tmp_path / "net.so", tmp_path / "runner"
    request = ExportLibrary(model, CODE, str(library))
    worker.request(request, ExportedLibrary)
    _compile(runner, runtime, tmp_path)
    (tmp_path / "image").write_bytes(image.tobytes())
    files = [str(tmp_path / name) for name in ("net.so", "image", "logits")]

    paths = ("-L", SYSTEM, "-E", f"LD_LIBRARY_PATH={runtime}:{SYSTEM}/lib")
    command = [emulator, *paths, str(runner), *files, *map(str, image.shape)]
    subprocess.run(command, check=True, timeout=EMULATOR_S)

    assert elf_machine(library.read_bytes()[:20]) == "aarch64"
    found = np.fromfile(tmp_path / "logits", np.float32).reshape(wanted.shape)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_emulated_server_gives_results_and_no_times(
    worker, emulator, model, image, wanted, tmp_path
):
    python = os.environ.get("HWNAS_AARCH64_PYTHON")
    if not python:
        pytest.skip("HWNAS_AARCH64_PYTHON names no command that runs an aarch64 Python")
    with DeviceProcess("tracker", "--host", "127.0.0.1", "--port", "0") as tracker:
        server = _emulated_server(python, tracker.address, tmp_path)
        try:
            request = BuildForDevice({"net": model}, (), CODE, str(tracker.address), "imitated")
            built = worker.request(request, BuiltForDevice)

            request = RunOnDevice(built.handle, "net", (Array.of(image),))
            (found,) = worker.request(request, Results).outputs
            chain = TimeChainOnDevice(((built.handle, "net"),), warmup=0, passes=1)
            with pytest.raises(MeasurementError, match=r"emulated.*functional only"):
                worker.request(chain, TimedOnDevice)
        finally:
            server.terminate()
            server.wait(60)

    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def _compile(runner, runtime, folder):
    package = importlib.util.find_spec("tvm_ffi")
    include = Path(package.origin).parent / "include"
    source = folder / "runner.cc"
    source.write_text(RUNNER)
    command = [COMPILER, "-std=c++17", "-O1", f"-I{include}", str(source), "-o", str(runner)]
    command += [f"-L{runtime}", "-Wl,--no-as-needed", "-ltvm_runtime", "-ltvm_ffi"]
    subprocess.run([*command, "-Wl,--allow-shlib-undefined"], check=True, timeout=EMULATOR_S)


def _emulated_server(python, tracker, folder):
    """`hwnas device serve` itself needs the compiled part of hwnas; the server does not."""
    (folder / "hwnas").symlink_to(Path(importlib.util.find_spec("hwnas").origin).parent)
    arguments = ["server", "--host", "127.0.0.1", "--port", "0", "--key", "imitated"]
    arguments += ["--tracker-host", tracker.host, "--tracker-port", str(tracker.port)]
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); sys.argv[0] = 'server'; "
    code += "from hwnas.tvm_worker.devices.server import main; main()"
    server = subprocess.Popen([python, "-c", code, *arguments], stdout=subprocess.PIPE)
    ready, _, _ = select.select([server.stdout], [], [], EMULATOR_S)
    assert ready, "the emulated server did not start"
    assert server.stdout.readline().startswith(b"ready")
    deadline = time.monotonic() + EMULATOR_S
    while not ask_tracker(tracker).count("imitated"):
        assert time.monotonic() < deadline, "the emulated server did not register"
        time.sleep(0.2)
    return server
