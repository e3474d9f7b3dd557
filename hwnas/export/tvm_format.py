"""The `tvm` format: a shared library that TVM's runtime loads, and a C++ program that runs it.

The code is what `tvm-cpu` and `tvm-rpc` measure: tuned kernels, where a folder of tuning records
is there. Without one the library is right and slow, and the receipt says so.

The library is checked by loading its file. One for another architecture is run by qemu, if that is
there and `HWNAS_TVM_AARCH64` names a folder with that architecture's wheels of TVM unpacked;
otherwise the same module is compiled for this machine, and the receipt says so.

For a GPU the library holds its kernels, of default schedules, and code for this machine's
processor that launches them. It is run where TVM sees a GPU of that architecture; elsewhere the
same module, in the same precision and for the same batch, is compiled for the processor.
"""

import logging
import os
import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.errors import ExportError, MeasurementError
from hwnas.export.request import Deployment, ExportRequest, Written
from hwnas.tvm_worker import TvmWorker, shared_worker, tvm_runtime
from hwnas.tvm_worker.cross_compiling import architecture_of, find_linker
from hwnas.tvm_worker.messages import (
    Array,
    CodeTarget,
    ExportedLibrary,
    ExportLibrary,
    FindGpu,
    FoundGpu,
    Results,
    RunLibrary,
)

__all__ = ["MODEL_NAME", "RUNNER_NAME", "export_tvm"]

log = logging.getLogger(__name__)

MODEL_NAME = "model.so"
RUNNER_NAME = "runner"
_RUNNER_FILES = ("CMakeLists.txt", "README.md", "main.cpp")
_STEPS = {"float32": 0.0, "float16": 2.0**-10, "bfloat16": 2.0**-7}  # between 1 and the next
_ROUNDINGS = 8.0  # steps by which the largest logit may be off; ten layers took less than one
_EMULATED_S = 600.0
_BUILD_S = 300.0


def export_tvm(request: ExportRequest, folder: Path) -> Written:
    """Write `model.so` and run it on the request's images; `runner/` comes with a processor's.

    Raises:
        PluginError: TVM is not installed, or in a version that does not work.
        LoweringError: TVM does not take the network.
        TargetError: LLVM does not know the processor, or there is no linker for it.
        ExportError: The library cannot be run.
    """
    deployment = request.deployment
    find_linker(deployment.code)  # before minutes of compiling
    graph = request.space.network(request.architecture)
    model = model_bytes(graph, request.weights, deployment.batch)
    worker = shared_worker(deployment.code.cores)
    tuning = deployment.tuning
    database = str(tuning) if tuning is not None and tuning.is_dir() else None
    asked = ExportLibrary(model, deployment.code, str(folder / MODEL_NAME), database)
    done = worker.request(asked, ExportedLibrary)
    if not deployment.code.cuda:
        _write_runner(folder / RUNNER_NAME)
    if done.untuned:
        tuned_as = deployment.tuned_as
        log.warning(
            "%d of %d kernels have no tuning record and are slow%s",
            len(done.untuned),
            done.kernels,
            f": profile a space with --target {tuned_as} first" if tuned_as else "",
        )
    logits, runtime, not_run = _run(worker, asked, request)
    return Written(
        MODEL_NAME,
        logits,
        runtime,
        (
            f"Compiled by LLVM for the processor {done.cpu!r}, {done.triple}.",
            *_kernels(done, deployment),
            *_how_to_run(request),
            "Batch normalisation is folded into the convolutions.",
            *([not_run] if not_run else []),
        ),
        target=deployment.target,
        not_its_costs=_not_its_costs(request, done),
        rounding=_rounding(request),
    )


def _rounding(request: ExportRequest) -> float:
    step = _STEPS[request.deployment.code.precision]
    return _ROUNDINGS * step * float(np.abs(request.logits).max())


def _shape(request: ExportRequest) -> str:
    return "x".join(map(str, (request.deployment.batch, *request.images.shape[1:])))


def _how_to_run(request: ExportRequest) -> tuple[str, ...]:
    shape = _shape(request)
    code = request.deployment.code
    if not code.cuda:
        return (
            f"Input: one image, float32 of shape {shape}. Build {RUNNER_NAME}/ with CMake; "
            f"`runner model.so {shape} images.f32 logits.f32` runs it.",
        )
    return (
        f"Input and result: float32, on the device, a batch of shape {shape}; in between "
        f"{code.precision}.",
        f'In Python: `relax.VirtualMachine(tvm.runtime.load_module("{MODEL_NAME}"), tvm.cuda())'
        '["main"](tvm.runtime.tensor(images, tvm.cuda()))`. It takes a GPU of compute capability '
        f"{code.cuda}, its driver, CUDA 13's runtime library and {tvm_runtime()}.",
    )


def _kernels(done: ExportedLibrary, deployment: Deployment) -> tuple[str, ...]:
    """What a receipt says about the kernels."""
    if not deployment.code.cuda:
        return (_tuned(done, deployment),)
    tuned = 0 if deployment.tuning is None else done.kernels - len(done.untuned)
    schedules = f"{tuned} of them tuned" if tuned else "of default schedules"
    held = f"{done.kernels} kernels for {deployment.code.cuda}, {schedules}"
    if done.device_code == "source":
        compiled = "as CUDA source, which is compiled when the library is loaded: that takes nvcc"
        return (f"{held}, {compiled} with TVM_CUDA_COMPILE_MODE=nvcc, or NVRTC.",)
    return (f"{held}, as machine code.",)


def _tuned(done: ExportedLibrary, deployment: Deployment) -> str:
    if not done.untuned:
        return f"All {done.kernels} kernels are tuned for {deployment.target.name}."
    return (
        f"Untuned code: slow. {len(done.untuned)} of {done.kernels} kernels have no tuning record "
        f"for {deployment.target.name}; no latency is claimed."
    )


def _not_its_costs(request: ExportRequest, done: ExportedLibrary) -> str:
    facts, deployment = request.facts.target, request.deployment
    if done.untuned:
        return "the library holds untuned code, whose time was not measured."
    if not deployment.costs_by_tvm or facts.fingerprint != deployment.target.fingerprint:
        remedy = "" if deployment.code.cuda else "; time it with the runner"
        return (
            f"the run's costs are of target {facts.name} and its runtime, not of this library on "
            f"{deployment.target.name}{remedy}."
        )
    return ""


def _write_runner(folder: Path) -> None:
    folder.mkdir()
    source = files("hwnas.export").joinpath("tvm_runner")
    for name in _RUNNER_FILES:
        (folder / name).write_bytes(source.joinpath(name).read_bytes())


# Running what was written ----------------------------------------------------------------------


def _run(
    worker: TvmWorker, asked: ExportLibrary, request: ExportRequest
) -> tuple[npt.NDArray[np.float32], str, str]:
    """Logits, what ran which code, and why the written file was not run if it was not."""
    code, path, images = asked.target, Path(asked.path), request.images
    if code.cuda:
        found = worker.request(FindGpu(), FoundGpu).architecture
        if found == code.cuda:
            return _run_here(worker, path, request), f"{tvm_runtime()} ({found})", ""
        why = f"TVM sees no GPU of {code.cuda} here" + (f", but one of {found}" if found else "")
        return _run_twin(worker, asked, request, why)
    architecture = architecture_of(code)
    if architecture == architecture_of(CodeTarget()):
        try:
            return _run_here(worker, path, request), f"{tvm_runtime()} (CPU)", ""
        except MeasurementError as error:
            if code.cpu == "host":
                raise ExportError(f"the written library does not run: {error}") from error
            why = f"this machine's processor does not run code for {code.cpu!r}"
    else:
        logits = _emulated(path, architecture, images, request.logits.shape[1:])
        if logits is not None:
            runtime = f"{tvm_runtime()} ({architecture}, emulated by qemu: results, no times)"
            return logits, runtime, ""
        why = (
            f"that takes qemu-{architecture}, a cross compiler, and TVM's {architecture} wheels "
            f"unpacked in a folder that {_variable(architecture)} names"
        )
    return _run_twin(worker, asked, request, why)


def _run_twin(
    worker: TvmWorker, asked: ExportLibrary, request: ExportRequest, why: str
) -> tuple[npt.NDArray[np.float32], str, str]:
    """The same of the module as compiled for this machine, because the file cannot be run."""
    with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
        twin = Path(scratch) / MODEL_NAME
        again = ExportLibrary(asked.model, asked.target, str(twin), asked.database, twin=True)
        worker.request(again, ExportedLibrary)
        logits = _run_here(worker, twin, request, on_gpu=False)
    return (
        logits,
        f"{tvm_runtime()} (CPU) as the same module compiled for this machine",
        f"{MODEL_NAME} itself was not run: {why}. Its results were checked on the same module "
        "compiled for this machine.",
    )


def _run_here(
    worker: TvmWorker, path: Path, request: ExportRequest, *, on_gpu: bool | None = None
) -> npt.NDArray[np.float32]:
    deployment = request.deployment
    on_gpu = bool(deployment.code.cuda) if on_gpu is None else on_gpu
    images = Array.of(request.images)
    run = RunLibrary(str(path), images, deployment.batch, on_gpu)
    (found,) = worker.request(run, Results).outputs
    return found.numpy().astype(np.float32)


def _emulated(
    path: Path, architecture: str, images: npt.NDArray[np.float32], result: tuple[int, ...]
) -> npt.NDArray[np.float32] | None:
    """Logits by the C++ runner under qemu; None where a part of that is missing."""
    qemu = shutil.which(f"qemu-{architecture}")
    compiler = shutil.which(f"{architecture}-linux-gnu-g++")
    root = Path(f"/usr/{architecture}-linux-gnu")
    packages = os.environ.get(_variable(architecture))
    headers = find_spec("tvm_ffi")
    if not (qemu and compiler and root.is_dir() and packages and headers and headers.origin):
        return None
    include = Path(headers.origin).parent / "include"
    libraries = [
        Path(packages) / "tvm" / "lib" / "libtvm_runtime.so",
        Path(packages) / "tvm_ffi" / "lib" / "libtvm_ffi.so",
    ]
    with (
        tempfile.TemporaryDirectory(prefix="hwnas-") as scratch,
        as_file(files("hwnas.export").joinpath("tvm_runner", "main.cpp")) as source,
    ):
        runner, given, got = (str(Path(scratch) / name) for name in ("runner", "x", "y"))
        options = ["-std=c++17", "-O1", "-isystem", str(include)]
        options += ["-isystem", str(include / "dlpack" / "include")]
        linking = ["-Wl,--no-as-needed", *map(str, libraries)]
        linking += [f"-Wl,-rpath,{library.parent}" for library in libraries]
        _call([compiler, *options, str(source), *linking, "-o", runner], _BUILD_S)
        np.ascontiguousarray(images, dtype=np.float32).tofile(given)
        shape = "x".join(map(str, (1, *images.shape[1:])))
        _call([qemu, "-L", str(root), runner, str(path), shape, given, got], _EMULATED_S)
        return np.fromfile(got, np.float32).reshape(len(images), *result)


def _call(command: list[str], limit_s: float) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"{Path(command[0]).name} cannot check the library: {error}") from error
    if done.returncode:
        said = done.stderr.strip()[-500:]
        raise ExportError(f"{Path(command[0]).name} cannot check the library: {said}")


def _variable(architecture: str) -> str:
    return f"HWNAS_TVM_{architecture.upper()}"
