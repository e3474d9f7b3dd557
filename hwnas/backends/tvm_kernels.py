"""What all targets that run TVM's kernels share: lowering and tuning in the TVM process."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Protocol, Self, TypeVar, cast, get_args

import onnx

from hwnas.backends.backend import (
    Availability,
    LoweredGraphs,
    TuningBudget,
    TuningReport,
)
from hwnas.errors import LoweringError, MeasurementError, TargetError
from hwnas.graph import Graph, Kernel
from hwnas.lowering import Weights, to_onnx
from hwnas.lowering.batching import set_batch
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.lowering.model_file import fix_batch
from hwnas.nvidia import search_gpu
from hwnas.progress import Progress, silent
from hwnas.targets import Target
from hwnas.tvm_worker import TvmWorker, find_tvm, shared_worker, tvm_runtime
from hwnas.tvm_worker.messages import CodeTarget, FloatPrecision, Lower, Lowered, Tune, Tuned

__all__ = [
    "TvmKernels",
    "batch_of",
    "code_target",
    "file_bytes",
    "has_precision",
    "model_bytes",
    "usable_tvm",
]

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
        code, batch = code_target(target), batch_of(target)
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            models = {name: model_bytes(*graphs[name], batch) for name in part}
            progress(f"lowering {len(names)} graphs", start / len(names))
            lowered = self._worker(target).request(Lower(models, pieces, code), Lowered)
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


def batch_of(target: Target) -> int:
    """How many inputs networks take at once there."""
    return 1 if target.gpu is None else target.gpu.batch


def has_precision(target: Target) -> bool:
    """Whether TVM makes code for the target's precision."""
    return target.runtime.precision in get_args(FloatPrecision)


def code_target(target: Target) -> CodeTarget:
    """What code is made for on a device; this machine's processor where its file says nothing.

    Raises:
        TargetError: TVM makes no code for the precision, or the file does not say what the GPU is
            and there is none here.
    """
    threads = target.runtime.threads
    if target.gpu is not None:
        return CodeTarget(cores=threads, cuda=_architecture(target), precision=_precision(target))
    processor = target.processor
    if processor is None:
        return CodeTarget(cores=threads)
    return CodeTarget(processor.cpu, processor.triple, processor.features, threads)


def file_bytes(model: onnx.ModelProto | Path, batch: int = 1) -> bytes:
    """A finished model or file that takes a batch; one that is fixed to 1 is made to.

    Raises:
        LoweringError: It is no ONNX model, another size of an input is free, or the model takes no
            such batch.
    """
    proto = onnx.ModelProto()
    try:
        if isinstance(model, Path):
            proto.ParseFromString(model.read_bytes())
        else:
            proto.CopyFrom(model)
    except Exception as error:  # protobuf's own classes differ between its implementations
        raise LoweringError(f"{model} is no ONNX model: {error}") from error
    if batch == 1:
        fix_batch(proto)
    else:
        set_batch(proto, batch)
    content: bytes = proto.SerializeToString()
    return content


def model_bytes(graph: Graph, weights: Weights, batch: int = 1) -> bytes:
    """A network as ONNX that takes a batch, batch norm folded."""
    proto = to_onnx(*fold_batch_norm(graph, weights))
    if batch != 1:
        set_batch(proto, batch)
    content: bytes = proto.SerializeToString()
    return content


def _precision(target: Target) -> FloatPrecision:
    if not has_precision(target):
        raise TargetError(
            f"TVM makes no code for {target.runtime.precision}: its schedules of float32 do not "
            "use tensor cores; --runtime torch, or --dtype fp32"
        )
    return cast(FloatPrecision, target.runtime.precision)


def _architecture(target: Target) -> str:
    assert target.gpu is not None  # the caller has looked
    here = target.gpu.architecture or getattr(search_gpu().gpu, "architecture", "")
    if not here:
        raise TargetError(
            f"the file of target {target.name!r} does not say what its GPU is, and there is none "
            "here to ask; add architecture to [gpu], or take a target such as nvidia_h100"
        )
    return str(here)
