"""ONNX Runtime's CPU provider: the kind of hardware that every machine has."""

import os
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import OrtMemType

from hwnas.backends.backend import Availability, Executable
from hwnas.backends.onnxruntime_blocks import name_by_block
from hwnas.backends.onnxruntime_sessions import (
    OrtExecutable,
    Provider,
    bind_blocks,
    open_session,
    optimised,
    run_examples,
)
from hwnas.backends.stopwatch import clock_of, time_chain
from hwnas.graph import Graph
from hwnas.lowering import Weights, to_onnx
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = ["OnnxRuntimeCpuBackend"]

_PROVIDERS: tuple[Provider, ...] = (("CPUExecutionProvider", {}),)
_SEVERITY_ERROR = 3


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
        return f"onnxruntime {ort.__version__}"

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
        session = open_session(source, options, _PROVIDERS)
        free = {
            i.shape[0] for i in session.get_inputs() if i.shape and isinstance(i.shape[0], str)
        }
        for name in free:
            options.add_free_dimension_override_by_name(name, 1)
        if free:
            session = open_session(source, options, _PROVIDERS)
        return OrtExecutable(session, *run_examples(session))

    def compile_blocks(
        self, graph: Graph, weights: Weights, blocks: Collection[str], target: Target
    ) -> Mapping[str, OrtExecutable]:
        """Let ONNX Runtime optimise the whole network, then cut its graph into blocks.

        The optimised graph is what a session executes: batch norm folded, activations and sums
        fused into convolutions, tensors in the blocked NCHWc layout.
        """
        options = _options(target, optimise=False)

        def opened(source: bytes) -> ort.InferenceSession:
            return open_session(source, options, _PROVIDERS)

        def bind(source: bytes, values: Mapping[str, np.ndarray], **network: Any) -> OrtExecutable:
            session = opened(source)
            inputs = {info.name: values[info.name] for info in session.get_inputs()}
            return OrtExecutable(session, inputs, values, **network)

        return bind_blocks(self._optimised(graph, weights, target), graph, blocks, opened, bind)

    def _optimised(self, graph: Graph, weights: Weights, target: Target) -> onnx.ModelProto:
        model = to_onnx(graph, weights)
        name_by_block(model.graph)
        return optimised(model, _options(target, optimise=True), _PROVIDERS)


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
