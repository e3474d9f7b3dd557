"""GPUs through ONNX Runtime: its CUDA provider, or TensorRT with the CUDA provider for the rest.

Runs are recorded as CUDA graphs, which takes out what launching kernels one by one costs. A model
of which a part has to run on the CPU cannot be recorded; it is timed as it is, with a warning.

Blocks are cut from the network that ONNX Runtime has optimised for the CUDA provider. TensorRT
makes one engine of a network that cannot be cut: there, each block is cut from the network as
written and built into an engine of its own, and cannot be fused across its borders.

A sample is taken by the GPU's own clock where a torch that knows CUDA is installed, and then
leaves out what the host adds; else by the wall clock around runs that are waited for. The
runtime's name says which, because the two do not compare.

Before each pass the next input is copied to the address that is read, outside the timed part, as
an image would be uploaded; it is then in the second-level cache, from which twice the cache's size
of other inputs go by before it comes again. Weights stay there from pass to pass if they fit.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from hwnas.backends.backend import Availability, Executable
from hwnas.backends.cuda.availability import gpu_here
from hwnas.backends.cuda.provider_options import (
    GpuSessions,
    engine_folder,
    precision_missing,
    provider_missing,
)
from hwnas.backends.cuda.session_executable import Recorded, SessionExecutable, image_pool
from hwnas.backends.onnxruntime_blocks import name_by_block
from hwnas.backends.onnxruntime_sessions import (
    bind_blocks,
    open_session,
    optimised,
    run_examples,
)
from hwnas.backends.stopwatch import time_chain
from hwnas.errors import LoweringError, MeasurementError, TargetError
from hwnas.graph import Graph
from hwnas.lowering import Weights, to_onnx
from hwnas.lowering.batching import set_batch
from hwnas.lowering.half_precision import to_float16
from hwnas.lowering.model_file import check_size
from hwnas.progress import Progress, silent
from hwnas.targets import Gpu, Target

__all__ = ["OnnxRuntimeCudaBackend"]

log = logging.getLogger(__name__)

_SEVERITY_ERROR = 3
_POOL_BYTES = 1 << 27  # 128 MiB, twice the largest second-level cache in targets/ and more
_TITLES = {"onnxruntime": "CUDA", "tensorrt": "TensorRT"}


class OnnxRuntimeCudaBackend:
    """Backend of GPU targets whose runtime is `onnxruntime` or `tensorrt`.

    Args:
        sessions: Where sessions run; tests give the CPU.
    """

    name = "cuda"
    model_suffix = ".onnx"

    def __init__(self, sessions: GpuSessions | None = None) -> None:
        self._sessions = sessions or GpuSessions()

    def is_available(self, target: Target) -> Availability:
        """Whether the GPU is here and ONNX Runtime can use it in the target's precision."""
        missing = gpu_here(target) or precision_missing(target) or provider_missing(target)
        return missing or Availability(True, self.runtime(target))

    def runtime(self, target: Target) -> str:
        """Name and version of ONNX Runtime, its provider, and the clock that latency is by."""
        clock = "wall" if self._sessions.clock() is None else "device"
        return f"onnxruntime {ort.__version__}, {_TITLES[_gpu(target).runtime]}, {clock} clock"

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """The device's clock or, without one, the wall's; and wall time.

        With a device clock every pass is made twice: queued as a whole for the device, and waited
        for one by one for the wall.

        Raises:
            MeasurementError: Something in the chain was compiled by another backend.
        """
        members = [member for member in chain if isinstance(member, SessionExecutable)]
        if len(members) != len(chain):
            raise MeasurementError(f"{target.name} times only what its own backend compiled")
        time_chain(members, time.perf_counter_ns, warmup=warmup, passes=1)  # records, too
        clock = self._sessions.clock()
        launches = [member.launch for member in members]
        queueing_s = 0.0 if clock is None else clock.queueing_s(launches)
        samples = np.empty((passes, len(members), 2))
        for sample in samples:
            _renew(members)
            sample[:] = time_chain(members, time.perf_counter_ns, warmup=0, passes=1)
            if clock is not None:
                _renew(members)
                sample[:, 0] = clock.seconds(launches, queueing_s)
        median: npt.NDArray[np.float64] = np.median(samples, axis=0)
        return median

    def launch_s(self, executable: Executable, repeats: int = 50) -> npt.NDArray[np.float64]:
        """Wall time beyond the device's, `(repeats,)` in s; 0 where there is no device clock."""
        if not isinstance(executable, SessionExecutable):
            raise MeasurementError("an executable of another backend")
        clock = self._sessions.clock()
        if clock is None:
            return np.zeros(repeats)
        executable.run()  # records
        wall = [
            time_chain([executable], time.perf_counter_ns, warmup=0, passes=1)[0, 1]
            for _ in range(repeats)
        ]
        launches = [executable.launch]
        inside = clock.seconds(launches, clock.queueing_s(launches))[0]
        return np.array(wall, dtype=np.float64) - float(inside)

    def compile(self, graph: Graph, weights: Weights, target: Target) -> SessionExecutable:
        """A session for the target's batch in its precision, input filled with noise."""
        return self._bound(_prepared(to_onnx(graph, weights), target), target)

    def compile_model(
        self,
        model: Path,
        target: Target,
        *,
        progress: Progress = silent,  # noqa: ARG002 (the contract gives it)
    ) -> SessionExecutable:
        """The same for a model file; a batch size that is free or 1 becomes the target's.

        TensorRT's engines of the model are kept in the user's cache folder.

        Raises:
            LoweringError: ONNX Runtime refuses the model, an input has no fixed shape, or a weight
                lies outside the file.
        """
        return self._bound(_prepared(_read(model), target), target, is_file=True)

    def compile_blocks(
        self, graph: Graph, weights: Weights, blocks: Collection[str], target: Target
    ) -> Mapping[str, SessionExecutable]:
        """Cut the network that ONNX Runtime has optimised, or for TensorRT the one as written."""
        model = to_onnx(graph, weights)
        name_by_block(model.graph)
        model = _prepared(model, target)
        is_cut_first = _gpu(target).runtime == "tensorrt"
        plain = self._sessions.plain(target)
        if not is_cut_first:
            model = optimised(model, _options(optimise=True), plain)

        def bind(source: bytes, values: Mapping[str, np.ndarray], **pieces: Any) -> Any:
            opened = self._opened(source, target, optimise=is_cut_first)
            data = [value.name for value in model.graph.input]
            return self._executable(*opened, values, target, data, **pieces)

        return bind_blocks(
            model,
            graph,
            blocks,
            lambda source: open_session(source, _options(optimise=False), plain),
            bind,
            element=_element(target),
            known=model.graph.value_info,
        )

    def _bound(
        self, model: onnx.ModelProto, target: Target, *, is_file: bool = False
    ) -> SessionExecutable:
        source = model.SerializeToString()
        plain = open_session(source, _options(optimise=True), self._sessions.plain(target))
        inputs, results = run_examples(plain, _element(target))
        keeps = is_file and _gpu(target).runtime == "tensorrt"
        engines = engine_folder(source, target) if keeps else None
        opened = self._opened(source, target, optimise=True, engines=engines)
        return self._executable(*opened, inputs | results, target, list(inputs))

    def _opened(
        self, source: bytes, target: Target, *, optimise: bool, engines: Path | None = None
    ) -> tuple[ort.InferenceSession, Recorded]:
        """A session that is recorded, or one that is not where the model cannot be."""

        def opened(record: bool) -> ort.InferenceSession:
            chosen = self._sessions.chosen(target, record=record, engines=engines)
            return open_session(source, _options(optimise=optimise), chosen)

        try:
            return opened(True), "once" if _gpu(target).runtime == "tensorrt" else "by address"
        except LoweringError as error:
            session = opened(False)
            log.warning(
                "%s: timed without a CUDA graph, launches included: %s", target.name, error
            )
            return session, "never"

    def _executable(
        self,
        session: ort.InferenceSession,
        recorded: Recorded,
        values: Mapping[str, np.ndarray],
        target: Target,
        data: Collection[str],
        **pieces: Any,
    ) -> SessionExecutable:
        kind = "float16" if target.runtime.precision == "float16" else "float32"
        images = image_pool(2 * _gpu(target).l2_bytes or _POOL_BYTES, kind)
        return SessionExecutable(
            session,
            values,
            place=self._sessions.place,
            recorded=recorded,
            images=images,
            data=data,
            **pieces,
        )


def _gpu(target: Target) -> Gpu:
    if target.gpu is None:
        raise TargetError(f"target {target.name!r} has no [gpu]")
    return target.gpu


def _prepared(model: onnx.ModelProto, target: Target) -> onnx.ModelProto:
    """The model in the target's batch and precision; the same object."""
    set_batch(model, _gpu(target).batch)
    if target.runtime.precision == "float16":
        to_float16(model)
    return model


def _element(target: Target) -> str:
    return "tensor(float16)" if target.runtime.precision == "float16" else "tensor(float)"


def _options(*, optimise: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_ERROR
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    return options


def _renew(members: Sequence[SessionExecutable]) -> None:
    for member in members:
        member.renew()


def _read(path: Path) -> onnx.ModelProto:
    """A model file; nothing outside it is opened."""
    check_size(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own classes differ between its implementations
        raise LoweringError(f"{path} is no ONNX model: {error}") from error
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise LoweringError(
                f"the value of {tensor.name[:100]!r} lies outside {path}, and nothing else is "
                "opened: save the model as one file"
            )
    return model
