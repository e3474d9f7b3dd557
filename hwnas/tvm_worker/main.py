"""The TVM process: reads requests from its standard input until that is closed."""

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import numpy as np
import tvm
import tvm_ffi

from hwnas.errors import HwnasError
from hwnas.graph import Kernel
from hwnas.tvm_worker.building import cuda_compiler, llvm_target, target_of
from hwnas.tvm_worker.device_timing import time_kernels_on_device, time_networks_on_device
from hwnas.tvm_worker.frames import read_frame, write_frame
from hwnas.tvm_worker.kernels import CompilerKernel, calls_of, kernels_of, module_of
from hwnas.tvm_worker.messages import (
    Array,
    BuildForDevice,
    BuildNetworks,
    Built,
    BuiltNetworks,
    CloseDevice,
    DeviceRequest,
    Done,
    ExportLibrary,
    Failed,
    FindGpu,
    FoundGpu,
    Greeting,
    Lower,
    Lowered,
    Release,
    Repeat,
    Repeated,
    Request,
    Results,
    Run,
    RunLibrary,
    RunOnDevice,
    Time,
    TimeChainOnDevice,
    Timed,
    TimeKernels,
    TimeOnDevice,
    Tune,
    Tuned,
    Working,
    WriteC,
)
from hwnas.tvm_worker.networks import build_networks, untuned_kernels
from hwnas.tvm_worker.relax_module import fuse, import_onnx
from hwnas.tvm_worker.timing import LoadedNetwork, time_kernels, time_networks

if TYPE_CHECKING:
    from hwnas.tvm_worker.devices.bench import DeviceBenches
    from hwnas.tvm_worker.tuning.summary import TuningSummary

__all__ = ["main"]

Report = Callable[[str, float], None]


class Worker:
    """What the process keeps between requests: kernels that were lowered, networks in memory."""

    def __init__(self) -> None:
        self._kernels: dict[str, CompilerKernel] = {}
        self._networks: dict[int, LoadedNetwork] = {}
        # A handle that a process gave out before it died must not name a network of the next.
        self._handle = os.getpid() << 32
        self._devices: DeviceBenches | None = None

    def answer(self, request: Request, report: Report) -> object:
        """The result of a request."""
        match request:
            case Lower():
                return self._lower(request, report)
            case Tune():
                return self._tune(request, report)
            case BuildNetworks():
                return self._build(request, report)
            case Run():
                inputs = [array.numpy() for array in request.inputs]
                outputs = self._networks[request.handle].run_on(inputs)
                return Results(tuple(Array.of(output) for output in outputs))
            case Time():
                networks = [self._networks[handle] for handle in request.handles]
                on_gpu = any(network.is_on_gpu for network in networks)
                time_all = time_networks_on_device if on_gpu else time_networks
                return Timed(time_all(networks, warmup=request.warmup, passes=request.passes))
            case TimeKernels():
                network = self._networks[request.handle]
                time_each = time_kernels_on_device if network.is_on_gpu else time_kernels
                return Timed(time_each(network, warmup=request.warmup, passes=request.passes))
            case Repeat():
                network = self._networks[request.handle]
                return Repeated(network.repeat(request.kernel, request.least_s))
            case FindGpu():
                return _found_gpu()
            case ExportLibrary():
                from hwnas.tvm_worker.exporting import export_library

                return export_library(request)
            case RunLibrary():
                from hwnas.tvm_worker.exporting import run_library

                images = request.images.numpy().astype(np.float32)
                found = run_library(
                    Path(request.path), images, batch=request.batch, gpu=request.gpu
                )
                return Results((Array.of(found),))
            case WriteC():
                from hwnas.tvm_worker.c_source import c_network

                return c_network(fuse(import_onnx(request.model)))
            case (
                BuildForDevice()
                | TimeOnDevice()
                | TimeChainOnDevice()
                | RunOnDevice()
                | CloseDevice()
            ):
                return self._on_device(request)
            case Release():
                for handle in request.handles:
                    self._networks.pop(handle, None)
                return Results(())

    def _on_device(self, request: DeviceRequest) -> object:
        from hwnas.tvm_worker.devices.bench import DeviceBenches

        if self._devices is None:
            self._devices = DeviceBenches()
        return self._devices.answer(request, self._kernels)

    def _lower(self, request: Lower, report: Report) -> Lowered:
        calls = {}
        found: dict[str, CompilerKernel] = {}
        for number, (name, model) in enumerate(request.models.items()):
            report(f"lowering {name}", number / len(request.models))
            module = fuse(
                import_onnx(model), piece=request.pieces, precision=request.target.precision
            )
            kernels = kernels_of(module)
            names = calls_of(module)
            calls[name] = tuple(kernels[call].key for call in names)
            found |= {kernels[call].key: kernels[call] for call in names}
        self._kernels |= found
        return Lowered(calls, {key: _record(kernel) for key, kernel in found.items()})

    def _tune(self, request: Tune, report: Report) -> Tuned:
        from hwnas.tvm_worker.tuning.gpu_tuner import tune_on_gpu
        from hwnas.tvm_worker.tuning.tuner import tune

        kernels = {f"kernel_{key}": self._kernels[key] for key in request.keys}

        def told(name: str, share: float) -> None:
            report(f"tuning {kernels[name].signature}", share)

        if request.target.cuda:
            return _tuned(
                tune_on_gpu(
                    module_of(kernels),
                    target_of(request.target),
                    Path(request.database),
                    limit_s=request.limit_s,
                    trials=request.trials,
                    on_progress=told,
                )
            )
        with ExitStack() as stack:
            runner = None
            if request.tracker:
                from hwnas.tvm_worker.devices.runner import RemoteRunner

                runner = RemoteRunner(request.target, request.tracker, request.key)
                stack.callback(runner.close)
            summary = tune(
                module_of(kernels),
                llvm_target(request.target),
                Path(request.database),
                limit_s=request.limit_s,
                trials=request.trials,
                seed=request.seed,
                on_progress=told,
                runner=runner,
            )
        return _tuned(summary)

    def _build(self, request: BuildNetworks, report: Report) -> BuiltNetworks:
        target = target_of(request.target)
        modules = {}
        for number, (name, model) in enumerate(request.models.items()):
            report(f"lowering {len(request.models)} networks", number / len(request.models))
            modules[name] = fuse(import_onnx(model), precision=request.target.precision)
        database = None if request.database is None else Path(request.database)
        if database is not None:
            untuned = untuned_kernels(modules, target, database)
            if untuned:
                self._kernels |= untuned
                return BuiltNetworks({}, tuple(untuned))
        report(f"compiling {len(modules)} networks", 0.0)
        built = {}
        for name, network in build_networks(modules, target, database).items():
            self._handle += 1
            self._networks[self._handle] = network
            built[name] = Built(self._handle, network.kernels)
        return BuiltNetworks(built)


def main() -> None:
    """Answer requests until standard input ends."""
    requests = sys.stdin.buffer
    # What TVM and LLVM print must not come between the messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    greeting = _greeting()
    write_frame(answers, msgspec.msgpack.encode(greeting))
    worker = Worker()
    while (content := read_frame(requests)) is not None:
        _serve(worker, content, answers)


def _serve(worker: Worker, content: bytes, answers: BinaryIO) -> None:
    encode = msgspec.msgpack.encode

    def report(text: str, share: float) -> None:
        write_frame(answers, encode(Working(str(text), share)))

    try:
        request = msgspec.msgpack.decode(content, type=Request)
        result = encode(worker.answer(request, report))
    except HwnasError as error:
        write_frame(answers, encode(Failed(type(error).__name__, str(error))))
    except Exception as error:  # whatever TVM raises is the answer to this request alone
        traceback.print_exc()
        last = (str(error).strip().splitlines() or [""])[-1]
        text = f"{type(error).__name__}: {last}"
        write_frame(answers, encode(Failed("MeasurementError", text)))
    else:
        write_frame(answers, encode(Done(msgspec.Raw(result))))


def _greeting() -> Greeting:
    """Try what ends the process under a wrong version of tvm-ffi."""
    x = tvm.te.placeholder((1,), "float32", "x")
    y = tvm.te.compute((1,), lambda i: x[i] + x[i], "y")
    tvm.ir.save_json(tvm.IRModule({"main": tvm.te.create_prim_func([x, y])}))
    return Greeting(
        f"{tvm.__version__}, tvm-ffi {tvm_ffi.__version__}",
        str(tvm.target.codegen.llvm_get_system_cpu()),
    )


def _found_gpu() -> FoundGpu:
    device = tvm.cuda()
    version = str(device.compute_version).replace(".", "") if device.exist else ""
    return FoundGpu(version and f"sm_{version}", cuda_compiler())


def _tuned(summary: "TuningSummary") -> Tuned:
    left = tuple(name.removeprefix("kernel_") for name in summary.left)
    return Tuned(summary.tuned, summary.reused, summary.trials, summary.seconds, left)


def _record(kernel: CompilerKernel) -> Kernel:
    return Kernel(
        kernel.key,
        kernel.signature,
        kernel.macs,
        kernel.activation_bytes,
        kernel.weight_bytes,
    )


if __name__ == "__main__":
    main()
