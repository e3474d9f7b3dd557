"""Networks and kernels that run and are timed on boards. Runs in the TVM process.

Times are those of TVM's evaluator on the board itself, so the wire is not in them: single runs
(`number=1`), of which the first is not counted. A kernel that is run again and again finds all of
its data in the caches; inside a network it finds its input there, which its predecessor has just
written, but its weights only if the caches hold those of the whole network. So before each run of
a kernel all but its first argument is flushed from the caches, unless the board's last cache is
larger than the weights of the networks on the bench. A whole network is never flushed. No pause
is made between runs: after one, governors begin at a low clock.
"""

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from hwnas.errors import MeasurementError
from hwnas.tvm_worker.building import llvm_target
from hwnas.tvm_worker.cross_compiling import find_linker
from hwnas.tvm_worker.devices.sessions import Board, Boards, Job
from hwnas.tvm_worker.devices.tracker import parse_address
from hwnas.tvm_worker.kernels import CompilerKernel, module_of
from hwnas.tvm_worker.messages import (
    Array,
    BuildForDevice,
    BuiltForDevice,
    CloseDevice,
    DeviceRequest,
    DeviceSample,
    Results,
    RunOnDevice,
    TimeChainOnDevice,
    TimedOnDevice,
    TimeOnDevice,
)
from hwnas.tvm_worker.networks import CompiledNetwork, compile_networks, untuned_kernels
from hwnas.tvm_worker.relax_module import fuse, import_onnx

__all__ = [
    "DeviceBenches",
    "KernelLibrary",
    "arguments_on",
    "build_kernels",
    "loaded_on",
    "time_kernel",
]

_EXAMPLE_SEED = 0
_KERNELS_AT_ONCE = 64  # in one library: linking, sending and loading it is shared
_KERNELS_IN_JOB = 16
_NETWORKS_IN_JOB = 1
_FLUSH = "cache_flush_cpu_non_first_arg"

Tensors = tuple[tuple[tuple[int, ...], str], ...]
"""Shape and type of each."""


@dataclass(frozen=True)
class KernelLibrary:
    """Kernels in one library.

    Args:
        path: The library.
        arguments: By name of the function; the last is the result.
    """

    path: Path
    arguments: Mapping[str, Tensors]


@dataclass
class _Bench:
    folder: Path
    boards: Boards
    library: Path  # with all networks
    networks: dict[str, CompiledNetwork]
    kernels: dict[str, tuple[KernelLibrary, str]]

    @property
    def weight_bytes(self) -> float:
        """Weights of a usual network."""
        return statistics.median([n.weight_bytes for n in self.networks.values()] or [0])


class DeviceBenches:
    """What the process keeps of boards between requests."""

    def __init__(self) -> None:
        self._benches: dict[int, _Bench] = {}
        self._boards: dict[tuple[str, str, int], Boards] = {}
        # A handle that a process gave out before it died must not name a bench of the next.
        self._handle = os.getpid() << 32

    def answer(
        self, request: DeviceRequest, kernels: dict[str, CompilerKernel]
    ) -> BuiltForDevice | TimedOnDevice | Results:
        """The result of a request.

        Args:
            request: The request.
            kernels: Those that were lowered, by key; those that lack a record are added.
        """
        match request:
            case BuildForDevice():
                return self._build(request, kernels)
            case TimeOnDevice():
                return _time(self._benches[request.handle], request)
            case TimeChainOnDevice():
                members = [(self._benches[handle], name) for handle, name in request.members]
                return _time_chain(members, request)
            case RunOnDevice():
                return _run(self._benches[request.handle], request)
            case CloseDevice():
                self._close(request.handle)
                return Results(())

    def _build(
        self, request: BuildForDevice, kernels: dict[str, CompilerKernel]
    ) -> BuiltForDevice:
        target, linker = llvm_target(request.target), find_linker(request.target)
        database = None if request.database is None else Path(request.database)
        modules = {name: fuse(import_onnx(model)) for name, model in request.networks.items()}
        left = {} if database is None else untuned_kernels(modules, target, database)
        parts = [_tuned(part, target, database) for part in _parts(request.kernels, kernels)]
        left |= {kernel.key: kernel for part in parts for kernel in part.untuned}
        if left:
            kernels |= left  # they are to be tuned next, and may never have been lowered alone
            return BuiltForDevice(0, {}, tuple(left))
        self._handle += 1
        folder = Path(tempfile.mkdtemp(prefix="hwnas-device-"))
        libraries: dict[str, tuple[KernelLibrary, str]] = {}
        try:
            path = folder / f"networks{self._handle}.so"
            executable, networks = compile_networks(modules, target, database)
            executable.export_library(str(path), fcompile=linker)
            for number, part in enumerate(parts):
                place = folder / f"kernels{self._handle}_{number}.so"
                library = build_kernels(part.module, part.kernels, target, place, linker)
                libraries |= {kernel.key: (library, n) for n, kernel in part.kernels.items()}
            boards = self._boards_of(request)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._benches[self._handle] = _Bench(folder, boards, path, networks, libraries)
        calls = {name: network.kernels for name, network in networks.items()}
        return BuiltForDevice(self._handle, calls, ())

    def _boards_of(self, request: BuildForDevice) -> Boards:
        """Sessions are shared: a board that serves one bench is not free for another."""
        place = (request.tracker, request.key, request.target.cores)
        if place not in self._boards:
            address = parse_address(request.tracker)
            self._boards[place] = Boards(address, request.key, threads=request.target.cores)
        return self._boards[place]

    def _close(self, handle: int) -> None:
        bench = self._benches.pop(handle, None)
        if bench is None:
            return
        bench.boards.forget(bench.folder)
        shutil.rmtree(bench.folder, ignore_errors=True)
        if all(other.boards is not bench.boards for other in self._benches.values()):
            bench.boards.close()
            self._boards = {k: b for k, b in self._boards.items() if b is not bench.boards}


def build_kernels(
    module: tvm.IRModule,
    names: Iterable[str],
    target: tvm.target.Target,
    path: Path,
    linker: Any,
) -> KernelLibrary:
    """Functions of a module as one library that holds nothing else.

    Args:
        module: With the functions, scheduled or not.
        names: Their names.
        target: What for.
        path: Where the library goes.
        linker: From `find_linker`.
    """
    functions = {name: module[name].with_attr("global_symbol", name) for name in names}
    built = tvm.tirx.build(tvm.IRModule(functions), target=target)
    built.export_library(str(path), fcompile=linker)
    arguments = {
        name: tuple(_tensor(parameter) for parameter in function.params)
        for name, function in functions.items()
    }
    return KernelLibrary(path, arguments)


def time_kernel(
    board: Board, library: KernelLibrary, name: str, *, runs: int, cold: bool
) -> npt.NDArray[np.float64]:
    """Wall times of single runs of a kernel on a board, `(runs,)` in s.

    Args:
        board: The board; keeps the library and the arguments.
        library: With the kernel.
        name: The kernel's function.
        runs: How many.
        cold: Whether all but the first argument is flushed from the caches before each.
    """
    module = loaded_on(board, library.path)
    arguments = arguments_on(board, library.path.parent, library.arguments[name])
    evaluate = module.time_evaluator(
        name, board.device, number=1, repeat=runs, f_preproc=_FLUSH if cold else ""
    )
    return np.array(evaluate(*arguments).results)


def _time(bench: _Bench, request: TimeOnDevice) -> TimedOnDevice:
    runs = request.warmup + request.passes
    jobs: list[Job[DeviceSample]] = []
    for start in range(0, len(request.kernels), _KERNELS_IN_JOB):
        keys = request.kernels[start : start + _KERNELS_IN_JOB]
        jobs.append(Job(f"{len(keys)} kernels", _kernel_job(bench, keys, runs, request.warmup)))
    for name in request.networks:
        work = _network_job([(bench, name)], runs, request.warmup)
        jobs.insert(len(jobs) // 2, Job(f"network {name}", work))
    outcome = bench.boards.run(jobs)
    if outcome.failure is not None and not outcome.results:
        raise outcome.failure
    samples = tuple(outcome.results[number] for number in sorted(outcome.results))
    return TimedOnDevice(samples, str(outcome.failure or ""))


def _time_chain(
    members: Sequence[tuple[_Bench, str]], request: TimeChainOnDevice
) -> TimedOnDevice:
    """All on one board, so that the times compare."""
    runs = request.warmup + request.passes
    work = _network_job(members, runs, request.warmup)
    outcome = members[0][0].boards.run([Job("a chain of networks", work)])
    if outcome.failure is not None:
        raise outcome.failure
    return TimedOnDevice((outcome.results[0],))


def _kernel_job(bench: _Bench, keys: Sequence[str], runs: int, warmup: int) -> Any:
    def work(board: Board) -> DeviceSample:
        cold = board.facts.cache_bytes < bench.weight_bytes or not board.facts.cache_bytes
        seconds = []
        for key in keys:
            library, name = bench.kernels[key]
            found = time_kernel(board, library, name, runs=runs, cold=cold)
            seconds.append(float(np.median(found[warmup:])))
        return DeviceSample(board.name, tuple(keys), tuple(seconds))

    return work


def _network_job(members: Sequence[tuple[_Bench, str]], runs: int, warmup: int) -> Any:
    def work(board: Board) -> DeviceSample:
        seconds = []
        for bench, name in members:
            network = bench.networks[name]
            machine = _machine(board, bench, network)
            evaluate = machine.time_evaluator(
                "invoke_stateful", board.device, number=1, repeat=runs
            )
            seconds.append(float(np.median(evaluate(network.function).results[warmup:])))
        return DeviceSample(board.name, tuple(name for _, name in members), tuple(seconds))

    return work


def _run(bench: _Bench, request: RunOnDevice) -> Results:
    network = bench.networks[request.network]

    def work(board: Board) -> tuple[Array, ...]:
        machine = _machine(board, bench, network)
        inputs = [
            tvm.runtime.tensor(np.ascontiguousarray(array.numpy()), device=board.device)
            for array in request.inputs
        ]
        machine.set_input(network.function, *inputs)
        machine.invoke_stateful(network.function)
        found = machine.get_outputs(network.function)
        outputs = [found] if isinstance(found, tvm.runtime.Tensor) else list(found)
        _set_example_inputs(board, machine, network)
        return tuple(Array.of(output.numpy()) for output in outputs)

    outcome = bench.boards.run([Job(f"network {request.network}", work, timed=False)])
    if outcome.failure is not None:
        raise outcome.failure
    return Results(outcome.results[0])


def _machine(board: Board, bench: _Bench, network: CompiledNetwork) -> relax.VirtualMachine:
    """A virtual machine on the board with the networks, and example inputs for this one."""
    kept = board.kept[bench.folder]
    if "machine" not in kept:
        kept["machine"] = relax.VirtualMachine(loaded_on(board, bench.library), board.device)
    machine = kept["machine"]
    place = ("inputs", network.function)
    if place not in kept:
        _set_example_inputs(board, machine, network)
        kept[place] = True
    return machine


def _set_example_inputs(
    board: Board, machine: relax.VirtualMachine, network: CompiledNetwork
) -> None:
    """The same noise as for networks on this machine."""
    rng = np.random.default_rng(_EXAMPLE_SEED)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape, dtype in network.inputs]
    inputs = [tvm.runtime.tensor(array, device=board.device) for array in arrays]
    machine.set_input(network.function, *inputs)


def loaded_on(board: Board, library: Path) -> tvm.runtime.Module:
    """A library on the board; sent when first asked for."""
    kept = board.kept[library.parent]
    place = ("library", library.name)
    if place not in kept:
        kept[place] = board.load(library)
    return kept[place]


def arguments_on(board: Board, folder: Path, wanted: Tensors) -> list[tvm.runtime.Tensor]:
    """Tensors filled with noise on the board; kernels with equal arguments share them."""
    kept = board.kept[folder]
    place = ("arguments", wanted)
    if place not in kept:
        fill = board.session.get_function("tvm.contrib.random.random_fill")
        tensors = []
        for shape, dtype in wanted:
            tensor = tvm.runtime.empty(shape, dtype, device=board.device)
            fill(tensor)
            tensors.append(tensor)
        kept[place] = tensors
    found: list[tvm.runtime.Tensor] = kept[place]
    return found


@dataclass(frozen=True)
class _Part:
    """Kernels for one library, by name of the function, scheduled."""

    module: tvm.IRModule
    kernels: Mapping[str, CompilerKernel]
    untuned: Sequence[CompilerKernel]


def _parts(
    keys: Sequence[str], kernels: Mapping[str, CompilerKernel]
) -> Iterator[dict[str, CompilerKernel]]:
    for start in range(0, len(keys), _KERNELS_AT_ONCE):
        yield {f"kernel_{key}": kernels[key] for key in keys[start : start + _KERNELS_AT_ONCE]}


def _tuned(
    part: Mapping[str, CompilerKernel], target: tvm.target.Target, database: Path | None
) -> _Part:
    module = module_of(part)
    if database is None:
        return _Part(module, part, ())
    from hwnas.tvm_worker.tuning.tuner import apply_database

    module, left = apply_database(module, target, database)
    return _Part(module, part, [part[name] for name in left])


def _tensor(value: Any) -> tuple[tuple[int, ...], str]:
    try:
        return tuple(int(side) for side in value.ty.shape), str(value.ty.dtype)
    except (TypeError, AttributeError) as error:
        raise MeasurementError(f"{value} has no fixed shape") from error
