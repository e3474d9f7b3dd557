"""ONNX Runtime's CPU provider: the kind of hardware that every machine has."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import OrtMemType

from hwnas.backends.backend import Availability, BlockExecutable, Executable
from hwnas.backends.onnxruntime_blocks import block_order, cut_blocks, is_branching, name_by_block
from hwnas.backends.stopwatch import clock_of, time_chain
from hwnas.errors import LoweringError
from hwnas.graph import Graph
from hwnas.lowering import Weights, to_onnx
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = ["OnnxRuntimeCpuBackend", "OrtExecutable"]

_SEVERITY_ERROR = 3
_EXAMPLE_SEED = 0


@dataclass(frozen=True, eq=False)
class _Written:
    """A buffer and which tensor of which network is written to it."""

    network: object
    name: str
    value: ort.OrtValue


class OrtExecutable:
    """A session with inputs and outputs bound to fixed buffers.

    Args:
        session: The session.
        inputs: Values by input name; copied into runtime-owned buffers.
        outputs: Example results by output name, whose shapes the result buffers take.
        network: Of a piece, the network that it is cut from.
        is_branching: Whether blocks of that network read other blocks than the one before.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        *,
        network: object = None,
        is_branching: bool = False,
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._inputs = {k: ort.OrtValue.ortvalue_from_numpy(v) for k, v in inputs.items()}
        self._outputs = {}
        for info in session.get_outputs():
            result = np.zeros_like(outputs[info.name])
            self._outputs[info.name] = ort.OrtValue.ortvalue_from_numpy(result)
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._is_branching = is_branching
        self._written = [_Written(network, name, value) for name, value in self._outputs.items()]
        self._within_reach = self._written
        self._network = network

    def run(self) -> None:
        """Run once."""
        self._session.run_with_iobinding(self._binding)

    def follow(self, previous: BlockExecutable | None) -> None:
        """Read each input from a buffer of the same shape that `previous` or one before it writes.

        The tensor that the piece reads in its own network comes first, then the last one written,
        while there are any, another for every input. In a network without branches only what
        `previous` itself writes counts.
        """
        earlier = previous._within_reach if isinstance(previous, OrtExecutable) else []
        chosen: dict[str, _Written] = {}
        for name, value in self._inputs.items():
            fitting = [w for w in earlier if w.value.shape() == value.shape()]
            unread = [w for w in fitting if w not in chosen.values()]
            own = [w for w in fitting if w.network is self._network and w.name == name]
            if fitting:
                chosen[name] = (own or unread or fitting)[0]
            self._binding.bind_ortvalue_input(name, chosen[name].value if fitting else value)
        self._within_reach = [*self._written, *earlier] if self._is_branching else self._written

    def results(self) -> dict[str, np.ndarray]:
        """Outputs of the last run, by name."""
        return {name: value.numpy() for name, value in self._outputs.items()}


class OnnxRuntimeCpuBackend:
    """Backend of the target `cpu`."""

    name = "onnxruntime"
    model_suffix = ".onnx"

    def is_available(self, target: Target) -> Availability:
        """Whether ONNX Runtime has its CPU provider and the machine the threads."""
        cores = _cores()
        if "CPUExecutionProvider" not in ort.get_available_providers():
            return Availability(False, "no CPU provider", "pip install onnxruntime")
        if target.runtime.threads > cores:
            return Availability(
                False,
                f"{target.runtime.threads} threads asked for, {cores} cores here",
                "ask for at most as many threads as there are cores",
            )
        return Availability(True, f"{self.runtime(target)}, {cores} cores")

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """Name and version of ONNX Runtime."""
        return f"onnxruntime {version('onnxruntime')}"

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """Thread CPU time for one thread, wall time for more; and wall time."""
        return time_chain(chain, clock_of(target), warmup=warmup, passes=passes)

    def compile(self, graph: Graph, weights: Weights, target: Target) -> OrtExecutable:
        """A session at the highest optimisation level, input filled with standard normal noise."""
        return self.compile_model(to_onnx(graph, weights), target)

    def compile_model(
        self,
        model: onnx.ModelProto | Path,
        target: Target,
        *,
        progress: Progress = silent,  # noqa: ARG002 (the contract gives it)
    ) -> OrtExecutable:
        """The same for a finished ONNX model or file; a free batch size is set to 1.

        Raises:
            LoweringError: ONNX Runtime refuses the model, or an input has no fixed shape.
        """
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        options = _options(target, optimise=True)
        session = _session(source, options)
        free = {
            i.shape[0] for i in session.get_inputs() if i.shape and isinstance(i.shape[0], str)
        }
        for name in free:
            options.add_free_dimension_override_by_name(name, 1)
        return _bound(_session(source, options) if free else session)

    def compile_blocks(
        self, graph: Graph, weights: Weights, blocks: Collection[str], target: Target
    ) -> Mapping[str, OrtExecutable]:
        """Let ONNX Runtime optimise the whole network, then cut its graph into blocks.

        The optimised graph is what a session executes: batch norm folded, activations and sums
        fused into convolutions, tensors in the blocked NCHWc layout. One run of it with the border
        tensors as outputs gives every piece an example input in its true layout.
        """
        optimised = self._optimised(graph, weights, target)
        everything, pieces = cut_blocks(optimised, blocks, block_order(graph))
        branching = is_branching(graph)
        options = _options(target, optimise=False)
        whole = _session(everything.SerializeToString(), options)
        examples = _example_inputs(whole)
        names = [info.name for info in whole.get_outputs()]
        borders = dict(zip(names, whole.run(names, examples), strict=True)) | examples
        compiled = {}
        for block, piece in pieces.items():
            session = _session(piece.SerializeToString(), options)
            inputs = {info.name: borders[info.name] for info in session.get_inputs()}
            compiled[block] = OrtExecutable(
                session, inputs, borders, network=optimised, is_branching=branching
            )
        return compiled

    def _optimised(self, graph: Graph, weights: Weights, target: Target) -> onnx.ModelProto:
        with TemporaryDirectory(prefix="hwnas-") as folder:
            path = Path(folder) / "optimised.onnx"
            options = _options(target, optimise=True)
            options.optimized_model_filepath = str(path)
            model = to_onnx(graph, weights)
            name_by_block(model.graph)
            _session(model.SerializeToString(), options)
            return onnx.load(path)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _options(target: Target, *, optimise: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = target.runtime.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SEVERITY_ERROR
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    if not optimise:
        # In a network, every operator works in memory that its predecessors have just used; pieces
        # that each kept their own would find it cold.
        _register_shared_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Many sessions are alive at once; spinning workers would disturb each other's timing.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


@lru_cache(maxsize=1)
def _register_shared_arena() -> None:
    """One arena for all sessions that ask for it; the runtime takes one per process."""
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(memory, None)


def _session(source: str | bytes, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exception classes share no base but Exception
        raise LoweringError(f"ONNX Runtime refuses the model: {error}") from error


def _bound(session: ort.InferenceSession) -> OrtExecutable:
    """A session with example inputs, and results of the shapes that one run of it gives."""
    inputs = _example_inputs(session)
    names = [info.name for info in session.get_outputs()]
    return OrtExecutable(
        session, inputs, dict(zip(names, session.run(names, inputs), strict=True))
    )


def _example_inputs(session: ort.InferenceSession) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(_EXAMPLE_SEED)
    examples = {}
    for info in session.get_inputs():
        if not all(isinstance(side, int) and side > 0 for side in info.shape):
            raise LoweringError(
                f"input {info.name!r} has shape {info.shape}: fix every size to measure the model"
            )
        if info.type != "tensor(float)":
            raise LoweringError(f"input {info.name!r} is {info.type}, only float32 is measured")
        examples[info.name] = rng.standard_normal(info.shape, dtype=np.float32)
    return examples
