"""TVM on boards elsewhere: compiled and tuned from here, timed there, found through a tracker."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hwnas.backends.backend import Availability, Executable
from hwnas.backends.tvm_kernels import TvmKernels, code_target, file_bytes, model_bytes, usable_tvm
from hwnas.environment import TRACKER_VARIABLE
from hwnas.errors import MeasurementError, TargetError
from hwnas.graph import Graph
from hwnas.lowering import Weights
from hwnas.progress import Progress, silent
from hwnas.targets import Target
from hwnas.tvm_worker import TvmWorker, find_tvm
from hwnas.tvm_worker.cross_compiling import find_linker
from hwnas.tvm_worker.devices.tracker import ask_tracker, parse_address
from hwnas.tvm_worker.messages import (
    Array,
    BuildForDevice,
    BuiltForDevice,
    CloseDevice,
    Results,
    RunOnDevice,
    TimeChainOnDevice,
    TimedOnDevice,
    TimeOnDevice,
)

__all__ = ["RemoteExecutable", "TvmRpcBackend"]

_KERNELS_A_BOARD = 64  # in one round
_ASK_S = 2.0


class RemoteExecutable:
    """A network that is compiled for boards, and sent to one when first run.

    Args:
        worker: The TVM process.
        handle: Its number there.
        name: Its name there.
    """

    def __init__(self, worker: TvmWorker, handle: int, name: str) -> None:
        self._worker = worker
        self.handle = handle
        self.name = name

    def run(self) -> None:
        """Run once."""
        self._worker.request(
            TimeChainOnDevice(((self.handle, self.name),), warmup=0, passes=1), TimedOnDevice
        )

    def results(self, inputs: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.generic]]:
        """Outputs for given inputs; also on emulated boards."""
        arrays = tuple(Array.of(array) for array in inputs)
        request = RunOnDevice(self.handle, self.name, arrays)
        return [output.numpy() for output in self._worker.request(request, Results).outputs]

    def release(self) -> None:
        """Let the TVM process and the boards forget it."""
        self._worker.forget(CloseDevice(self.handle))


class TvmRpcBackend(TvmKernels):
    """Backend of targets whose boards are registered at a tracker."""

    name = "tvm-rpc"
    model_suffix = ".onnx"

    def is_available(self, target: Target) -> Availability:
        """Whether TVM works here, a linker for the device is found and a board registered."""
        unusable = usable_tvm(target)
        if unusable is not None:
            return unusable
        try:
            address, key = self._boards(target)
            find_linker(code_target(target))
            state = ask_tracker(parse_address(address), timeout_s=_ASK_S)
        except (TargetError, MeasurementError) as error:
            reason, _, remedy = str(error).partition("; ")
            return Availability(False, reason, remedy or "correct the device file")
        if not state.count(key):
            return Availability(
                False,
                f"no device {key!r} at tracker {address}; registered: "
                f"{', '.join(state.keys) or 'none at all'}",
                f"on the board: hwnas device serve --key {key} --tracker {address}",
            )
        return Availability(True, f"{find_tvm().found}, {state.count(key)} boards at {address}")

    def compile(self, graph: Graph, weights: Weights, target: Target) -> RemoteExecutable:
        """A network of tuned kernels; those that no profile has seen are tuned now.

        Raises:
            LoweringError: TVM does not take an operator.
            TargetError: There is no linker for the device, or no tracker is named.
            MeasurementError: Kernels are left without a tuning record.
        """
        return self._compile(model_bytes(graph, weights), graph.name or "network", target)

    def compile_model(
        self, model: onnx.ModelProto | Path, target: Target, *, progress: Progress = silent
    ) -> RemoteExecutable:
        """The same for a finished ONNX model or file; a free batch size is set to 1.

        Raises:
            LoweringError: It is no model, or TVM does not take it.
            TargetError: There is no linker for the device, or no tracker is named.
            MeasurementError: Kernels are left without a tuning record.
        """
        name = model.stem if isinstance(model, Path) else "model"
        return self._compile(file_bytes(model), name, target, progress)

    def compile_naive(self, graph: Graph, weights: Weights, target: Target) -> RemoteExecutable:
        """A network of untuned kernels: for its results, never for times."""
        name = graph.name or "network"
        built = self._build({name: model_bytes(graph, weights)}, (), target, tuned=False)
        return RemoteExecutable(self._worker(target), built.handle, name)

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """Wall time on a board, twice; all members run on the same one."""
        members = tuple((m.handle, m.name) for m in chain if isinstance(m, RemoteExecutable))
        if len(members) != len(chain):
            raise MeasurementError("an executable of another backend is in the chain")
        request = TimeChainOnDevice(members, warmup, passes)
        (found,) = self._worker(target).request(request, TimedOnDevice).samples
        return _twice(found.seconds)

    def open_bench(
        self,
        networks: Mapping[str, tuple[Graph, Weights]],
        kernels: Collection[str],
        target: Target,
        rng: np.random.Generator,
        *,
        progress: Progress = silent,
    ) -> "TvmRpcBench":
        """Compile networks and kernels for the boards."""
        progress(f"compiling {len(networks)} networks and {len(kernels)} kernels", 0.0)
        models = {name: model_bytes(*network) for name, network in networks.items()}
        built = self._tuned(
            lambda: self._build(models, tuple(sorted(kernels)), target),
            f"{len(networks)} networks",
            target,
            progress,
        )
        address, key = self._boards(target)
        boards = ask_tracker(parse_address(address)).count(key)
        return TvmRpcBench(self._worker(target), built, kernels, boards, rng)

    def _compile(
        self, model: bytes, name: str, target: Target, progress: Progress = silent
    ) -> RemoteExecutable:
        built = self._tuned(
            lambda: self._build({name: model}, (), target), repr(name), target, progress
        )
        return RemoteExecutable(self._worker(target), built.handle, name)

    def _build(
        self,
        models: Mapping[str, bytes],
        kernels: tuple[str, ...],
        target: Target,
        *,
        tuned: bool = True,
    ) -> BuiltForDevice:
        tracker, key = self._boards(target)
        records = str(self._records()) if tuned else None
        request = BuildForDevice(dict(models), kernels, code_target(target), tracker, key, records)
        return self._worker(target).request(request, BuiltForDevice)

    def _boards(self, target: Target) -> tuple[str, str]:
        """Address of the tracker, and the key of this kind of board.

        Raises:
            TargetError: No tracker is named, or the device file names no key.
        """
        if target.remote is None or target.processor is None:
            raise TargetError(
                f"the device file of {target.name!r} names no board; add [processor] and "
                '[remote] with key = "..."'
            )
        tracker = os.environ.get(TRACKER_VARIABLE, "")
        if not tracker:
            raise TargetError(
                f"target {target.name!r} is found through a tracker, and none is named; give "
                f"--tracker HOST:PORT or set {TRACKER_VARIABLE}; start one by hwnas device tracker"
            )
        return tracker, target.remote.key


class TvmRpcBench:
    """Networks and kernels that are timed on boards, all boards at once.

    Args:
        worker: The TVM process.
        built: What was compiled.
        kernels: Keys that are timed one by one.
        boards: How many boards there were.
        rng: Draws the order.
    """

    def __init__(
        self,
        worker: TvmWorker,
        built: BuiltForDevice,
        kernels: Collection[str],
        boards: int,
        rng: np.random.Generator,
    ) -> None:
        self._worker = worker
        self._built = built
        self._kernels = sorted(kernels)
        self._boards = max(1, boards)
        self._rng = rng

    def round(
        self, needy: Collection[str], *, warmup: int, passes: int
    ) -> Iterator[tuple[Sequence[str], npt.NDArray[np.float64]]]:
        """Needy kernels and networks, as many as the boards do in a short time.

        Raises:
            MeasurementError: No board is left; what they had measured came before.
        """
        wanted = set(needy)
        kernels = self._draw(self._kernels, wanted, self._boards * _KERNELS_A_BOARD)
        networks = self._draw(list(self._built.calls), wanted, self._boards)
        request = TimeOnDevice(self._built.handle, networks, kernels, warmup, passes)
        timed = self._worker.request(request, TimedOnDevice)
        for sample in timed.samples:
            yield sample.names, _twice(sample.seconds)
        if timed.failure:
            raise MeasurementError(timed.failure)

    def close(self) -> None:
        """Let the TVM process and the boards forget all of it."""
        self._worker.forget(CloseDevice(self._built.handle))

    def _draw(self, names: list[str], wanted: set[str], most: int) -> tuple[str, ...]:
        """Some of the wanted names, or of all if none is wanted, in any order."""
        order = [names[i] for i in self._rng.permutation(len(names))]
        return tuple([name for name in order if name in wanted][:most] or order[:most])


def _twice(seconds: Sequence[float]) -> npt.NDArray[np.float64]:
    """`(n, 2)`: a board's evaluator has one clock, the wall's."""
    return np.repeat(np.array(seconds, dtype=np.float64)[:, None], 2, axis=1)
