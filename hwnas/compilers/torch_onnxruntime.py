"""A graph of torch's in ONNX Runtime: run, and timed kernel by kernel."""

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from hwnas.errors import LoweringError
from hwnas.lowering.onnx_kernels import OnnxKernel, divide, kernel_owners
from hwnas.targets import Target

__all__ = ["PROFILE_BIAS", "OnnxRuntimeGraph"]

PROFILE_BIAS = (
    "kernels: wall time in ONNX Runtime's profile, in whole microseconds rounded down, dispatch "
    "between operators left out, none where a kernel became part of another; whole: thread CPU "
    "time if there is one thread"
)
_SEVERITY_ERROR = 3
_WARMUP = 3

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float64]


class OnnxRuntimeGraph:
    """One session, and its kernels.

    Args:
        model: With weights as initializers.
        target: Number of threads.

    Raises:
        LoweringError: ONNX Runtime refuses the model.
    """

    def __init__(self, model: onnx.ModelProto, target: Target) -> None:
        self._target = target
        self._model, self.kernels = divide(model)
        self._session = _session(self._model, _options(target))
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Outputs in order."""
        found: list[Array] = self._session.run(self._outputs, dict(inputs))
        return found

    def measure(self, inputs: Mapping[str, Array], repeats: int) -> tuple[dict[str, float], float]:
        """Median latency in s of each kernel by name, and of the whole; see `PROFILE_BIAS`."""
        samples, whole = self.sample(inputs, repeats)
        medians = {name: float(np.median(times)) for name, times in samples.items()}
        return medians, float(np.median(whole))

    def close(self) -> None:
        """Nothing to do: the session goes with the object."""

    def sample(
        self, inputs: Mapping[str, Array], repeats: int
    ) -> tuple[dict[str, Floats], Floats]:
        """All times in s behind `measure`, `(repeats,)` each."""
        clock = time.thread_time_ns if self._target.runtime.threads == 1 else time.perf_counter_ns
        with TemporaryDirectory(prefix="hwnas-") as folder:
            options = _options(self._target)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
            watched = _session(self._model, options)
            owners = kernel_owners(onnx.load(options.optimized_model_filepath))
            whole = []
            for number in range(_WARMUP + repeats):
                watched.run(self._outputs, dict(inputs))
                begin = clock()
                self._session.run(self._outputs, dict(inputs))
                if number >= _WARMUP:
                    whole.append(clock() - begin)
            events = json.loads(Path(watched.end_profiling()).read_text(encoding="utf-8"))
        return _kernel_times(events, owners, self.kernels, repeats), 1e-9 * np.array(whole)


def _kernel_times(
    events: Sequence[Mapping[str, object]],
    owners: Mapping[str, str],
    kernels: Sequence[OnnxKernel],
    repeats: int,
) -> dict[str, Floats]:
    """Time of each kernel's operators together in s, `(repeats,)`.

    A kernel that became part of another has no time.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            times[name.removesuffix("_kernel_time")].append(1e-6 * float(str(event["dur"])))
    known = {kernel.name for kernel in kernels}
    runs: dict[str, Floats] = defaultdict(lambda: np.zeros(repeats))
    for operator, seconds in times.items():
        kernel = owners.get(operator, "")
        if kernel in known:
            runs[kernel] += np.array(seconds[_WARMUP:])
    return dict(runs)


def _options(target: Target) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = target.runtime.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_ERROR
    return options


def _session(model: onnx.ModelProto, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the runtime's classes share no base; protobuf refuses over 2 GiB
        raise LoweringError(f"ONNX Runtime refuses the graph: {error}") from error
