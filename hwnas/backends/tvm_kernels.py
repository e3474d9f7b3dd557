"""What all targets that run TVM's kernels share: lowering and tuning in the TVM process."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol, Self, TypeVar

import onnx

from hwnas.backends.backend import (
    Availability,
    LoweredGraphs,
    TuningBudget,
    TuningReport,
)
from hwnas.errors import LoweringError, MeasurementError
from hwnas.graph import Graph, Kernel
from hwnas.lowering import Weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.lowering.model_file import fix_batch
from hwnas.progress import Progress, silent
from hwnas.targets import Target
from hwnas.tvm_worker import TvmWorker, find_tvm, shared_worker, tvm_runtime
from hwnas.tvm_worker.messages import CodeTarget, Lower, Lowered, Tune, Tuned

__all__ = ["TvmKernels", "code_target", "file_bytes", "model_bytes", "usable_tvm"]

_TRIALS_PER_KERNEL = 32
_ON_DEMAND_TRIALS = 64  # for each kernel of a network that no profile has seen
_SLACK_S = 1800.0  # over the limit of tuning before the TVM process counts as stuck
_ENDLESS_S = 30 * 86400.0
_AT_ONCE = 32  # models lowered by one request; bounds the memory of a message


class _HasUntuned(Protocol):
    @property
    def untuned(self) -> tuple[str, ...]: ...


_Built = TypeVar("_Built", bound=_HasUntuned)


class TvmKernels:
    """Lowering and tuning, as `KernelBackend` wants them; the base of backends.

    Args:
        tuning: Folder of tuning records; without one nothing can be tuned or timed.
    """

    def __init__(self, tuning: Path | None = None) -> None:
        self._tuning = tuning

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """Name and version of TVM; kernels that it times are tuned."""
        return tvm_runtime()

    def with_tuning(self, folder: Path) -> Self:
        """The same with its tuning records in a folder."""
        return type(self)(folder)

    def lower(
        self,
        graphs: Mapping[str, tuple[Graph, Weights]],
        target: Target,
        *,
        pieces: bool = False,
        progress: Progress = silent,
    ) -> LoweredGraphs:
        """Kernels of graphs after batch norm is folded; weights only give shapes."""
        calls: dict[str, tuple[str, ...]] = {}
        kernels: dict[str, Kernel] = {}
        names = list(graphs)
        for start in range(0, len(names), _AT_ONCE):
            models = {name: model_bytes(*graphs[name]) for name in names[start : start + _AT_ONCE]}
            progress(f"lowering {len(names)} graphs", start / len(names))
            lowered = self._worker(target).request(Lower(models, pieces), Lowered)
            calls |= lowered.calls
            kernels |= lowered.kernels
        return LoweredGraphs(calls, kernels)

    def tune(
        self,
        keys: Collection[str],
        target: Target,
        budget: TuningBudget,
        *,
        seed: int,
        progress: Progress = silent,
    ) -> TuningReport:
        """Tune kernels that this process has lowered.

        Raises:
            MeasurementError: There is no folder for records, or TVM died; records so far are kept.
        """
        trials = budget.trials
        if trials is None and budget.limit_s is None:
            trials = _TRIALS_PER_KERNEL * len(keys)
        limit = _ENDLESS_S if budget.limit_s is None else budget.limit_s + _SLACK_S
        tracker, key = self._boards(target)
        request = Tune(
            tuple(keys),
            code_target(target),
            str(self._records()),
            limit_s=budget.limit_s,
            trials=trials,
            seed=seed,
            tracker=tracker,
            key=key,
        )
        done = self._worker(target).request(request, Tuned, progress=progress, timeout_s=limit)
        return TuningReport(done.tuned, done.reused, done.trials, done.seconds, done.left)

    def _tuned(
        self,
        build: Callable[[], _Built],
        what: str,
        target: Target,
        progress: Progress = silent,
    ) -> _Built:
        """What `build` gives once all kernels have records; those without are tuned now.

        Raises:
            MeasurementError: Kernels are left without a record.
        """
        built = build()
        if built.untuned:
            budget = TuningBudget(trials=_ON_DEMAND_TRIALS * len(built.untuned))
            self.tune(built.untuned, target, budget, seed=0, progress=progress)
            built = build()
        if built.untuned:
            raise MeasurementError(
                f"{len(built.untuned)} kernels of {what} could not be tuned, and TVM's untuned "
                "code is no measure of anything: profile with a larger --tune-budget"
            )
        return built

    def _records(self) -> Path:
        if self._tuning is None:
            raise MeasurementError(
                "TVM's kernels are tuned before they are timed, and no folder for the records was "
                "named: use a cost table, beside which they lie"
            )
        return self._tuning

    def _boards(self, target: Target) -> tuple[str, str]:  # noqa: ARG002 (others look there)
        """Tracker and key of the boards that time candidates; empty for this machine."""
        return "", ""

    def _worker(self, target: Target) -> TvmWorker:
        return shared_worker(target.runtime.threads)


def usable_tvm(target: Target) -> Availability | None:
    """Why TVM cannot serve a target here, None if it can."""
    found = find_tvm()
    if not found.works:
        return Availability(False, found.found, found.remedy)
    if target.runtime.threads != 1:
        return Availability(
            False,
            f"{target.runtime.threads} threads asked for, and TVM's kernels are scheduled for one",
            "ask for one thread, or use target cpu",
        )
    return None


def code_target(target: Target) -> CodeTarget:
    """What code is made for on a device; this machine's processor where its file says nothing."""
    processor = target.processor
    threads = target.runtime.threads
    if processor is None:
        return CodeTarget(cores=threads)
    return CodeTarget(processor.cpu, processor.triple, processor.features, threads)


def file_bytes(model: onnx.ModelProto | Path) -> bytes:
    """A finished model or file with its free batch size set to 1.

    Raises:
        LoweringError: It is no ONNX model, or another size of an input is free.
    """
    proto = onnx.ModelProto()
    try:
        if isinstance(model, Path):
            proto.ParseFromString(model.read_bytes())
        else:
            proto.CopyFrom(model)
    except Exception as error:  # protobuf's own classes differ between its implementations
        raise LoweringError(f"{model} is no ONNX model: {error}") from error
    fix_batch(proto)
    content: bytes = proto.SerializeToString()
    return content


def model_bytes(graph: Graph, weights: Weights) -> bytes:
    """A network as ONNX, batch norm folded."""
    content: bytes = to_onnx(*fold_batch_norm(graph, weights)).SerializeToString()
    return content
