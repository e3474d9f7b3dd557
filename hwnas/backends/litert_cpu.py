"""LiteRT on this machine's processor: the file that goes onto a phone, run here by XNNPACK.

XNNPACK is the delegate that LiteRT applies by itself where nothing else is asked for. It packs the
weights when the file is loaded; operators that it does not take run in LiteRT's own kernels.
"""

import logging
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.backends.backend import Availability, BlockExecutable, Executable
from hwnas.backends.litert_check import checked_model
from hwnas.backends.stopwatch import time_chain
from hwnas.errors import LoweringError, PluginError
from hwnas.graph import Graph, GraphBuilder
from hwnas.lowering import Weights, random_weights
from hwnas.lowering.tflite_model import REMEDY, blocks_to_tflite, to_tflite
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = ["LitertCpuBackend", "LitertExecutable"]

log = logging.getLogger(__name__)

PACKAGE = "ai-edge-litert"
_DELEGATE = "DELEGATE"  # what LiteRT calls an operator that stands for a delegated part
_EXAMPLE_SEED = 0


@dataclass(frozen=True, eq=False)
class _Written:
    """A tensor that an executable writes, and which tensor of which network it is."""

    network: object
    name: str
    executable: "LitertExecutable"
    index: int
    shape: tuple[int, ...]


class LitertExecutable:
    """A loaded file with its inputs filled in; a run copies nothing.

    Args:
        model: Content of the file.
        threads: That XNNPACK works with.
        network: Of a piece, the network that it is cut from.

    Raises:
        LoweringError: LiteRT refuses the file, or an input has no fixed shape or is not float32.
        PluginError: LiteRT is not installed.
    """

    def __init__(self, model: bytes, threads: int, *, network: object = None) -> None:
        self.model = model
        _load_delegate()
        self._interpreter = _interpreter(model, threads)
        rng = np.random.default_rng(_EXAMPLE_SEED)
        self._network = network
        self._inputs: dict[str, Any] = {}
        self._examples: dict[str, npt.NDArray[np.float32]] = {}
        for info in self._interpreter.get_input_details():
            shape = _with_one_image(info["shape_signature"].tolist())
            if info["dtype"] is not np.float32 or any(side < 1 for side in shape):
                raise LoweringError(
                    f"input {info['name']!r} is {np.dtype(info['dtype'])} of shape {shape}: only "
                    "float32 of a fixed shape is measured"
                )
            self._inputs[info["name"]] = info
            self._examples[info["name"]] = rng.standard_normal(shape, dtype=np.float32)
        self.read(self._examples)
        self._written = [
            _Written(network, i["name"], self, i["index"], tuple(i["shape"].tolist()))
            for i in self._interpreter.get_output_details()
        ]
        self._within_reach = self._written

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs by name, in the file's layout."""
        return {name: example.shape for name, example in self._examples.items()}

    def run(self) -> None:
        """Run once."""
        self._interpreter.invoke()

    def read(self, values: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Copy new values into inputs, in the file's layout."""
        for name, value in values.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], value)

    def follow(self, previous: BlockExecutable | None) -> None:
        """Take over what `previous` or one before it wrote, if the shapes fit.

        Interpreters share no buffers: values are copied here, once, and not when the piece runs.
        The tensor that the piece reads in its own network comes first, then the last one written,
        while there are any, another for every input.
        """
        self.read(self._examples)
        earlier = previous._within_reach if isinstance(previous, LitertExecutable) else []
        chosen: list[_Written] = []
        for name, info in self._inputs.items():
            fitting = [w for w in earlier if w.shape == tuple(info["shape"].tolist())]
            own = [w for w in fitting if w.network is self._network and w.name == name]
            unread = [w for w in fitting if w not in chosen]
            if fitting:
                chosen.append((own or unread or fitting)[0])
                self.read({name: chosen[-1].executable._value(chosen[-1].index)})
        self._within_reach = [*self._written, *earlier]

    def results(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies of the outputs of the last run, by name, in the file's layout."""
        return {written.name: self._value(written.index) for written in self._written}

    def undelegated(self) -> tuple[str, ...]:
        """Operators that LiteRT's own kernels run, because XNNPACK does not take them."""
        return _undelegated(self._interpreter)

    def _value(self, index: int) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self._interpreter.get_tensor(index)
        return found


class LitertCpuBackend:
    """Backend of the target `litert-cpu`."""

    name = "litert"
    model_suffix = ".tflite"

    def is_available(self, target: Target) -> Availability:
        """Whether LiteRT is there, runs what hwnas writes, and delegates it to XNNPACK."""
        try:
            version(PACKAGE)
            delegates = _load_delegate()
        except (PackageNotFoundError, PluginError):
            return Availability(False, f"{PACKAGE} is not installed", REMEDY)
        except LoweringError as error:
            return Availability(False, str(error), f"install another version of {PACKAGE}")
        if not delegates:
            return Availability(
                False,
                f"{self.runtime(target)} does not delegate to XNNPACK",
                f"install a build of {PACKAGE} that has it",
            )
        cores = _cores()
        if target.runtime.threads > cores:
            return Availability(
                False,
                f"{target.runtime.threads} threads asked for, {cores} cores here",
                "ask for at most as many threads as there are cores",
            )
        return Availability(True, f"{self.runtime(target)}, {cores} cores")

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """Name and version of LiteRT, and of the delegate, which is part of it."""
        try:
            return f"litert {version(PACKAGE)} xnnpack"
        except PackageNotFoundError:
            return "litert (not installed)"

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """Thread CPU time for one thread, wall time for more; and wall time."""
        alone = target.runtime.threads == 1
        clock = time.thread_time_ns if alone else time.perf_counter_ns
        return time_chain(chain, clock, warmup=warmup, passes=passes)

    def compile(self, graph: Graph, weights: Weights, target: Target) -> LitertExecutable:
        """The file that an export writes, loaded; inputs are standard normal noise."""
        return self.compile_model(to_tflite(graph, weights), target)

    def compile_model(
        self,
        model: bytes | Path,
        target: Target,
        *,
        progress: Progress = silent,  # noqa: ARG002 (the contract gives it)
    ) -> LitertExecutable:
        """The same for the content of a file that hwnas wrote, or for a file of anybody's.

        Raises:
            LoweringError: LiteRT refuses the model, or a process that tried the file came to harm.
        """
        threads = target.runtime.threads
        content = checked_model(model, threads) if isinstance(model, Path) else model
        executable = LitertExecutable(content, threads)
        left = executable.undelegated()
        if left:
            log.debug("not delegated to XNNPACK: %s", ", ".join(sorted(set(left))))
        return executable

    def compile_blocks(
        self, graph: Graph, weights: Weights, blocks: Collection[str], target: Target
    ) -> Mapping[str, LitertExecutable]:
        """Cut the operators of the network's file at the borders of its blocks.

        All tensors are channels last in the file and in XNNPACK, so that a piece runs the same
        kernels as in the network. What it does not share is memory: inputs are the piece's own.
        """
        network = object()
        threads = target.runtime.threads
        found = blocks_to_tflite(graph, weights, blocks)
        return {
            block: LitertExecutable(content, threads, network=network)
            for block, content in found.items()
        }


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _interpreter(model: bytes, threads: int) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise PluginError(f"{PACKAGE} cannot be imported ({error}): {REMEDY}") from error
    try:
        interpreter = Interpreter(model_content=model, num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise LoweringError(f"LiteRT refuses the model: {error}") from error
    return interpreter


def _with_one_image(signature: Sequence[int]) -> tuple[int, ...]:
    """The shape of an input; a free number of images becomes 1, other free sides stay as -1."""
    return tuple(1 if place == 0 and side == -1 else side for place, side in enumerate(signature))


def _undelegated(interpreter: Any) -> tuple[str, ...]:
    """Kinds of operators that are still run one by one.

    LiteRT lists the operators of the file and, after them, one for each part that it handed to a
    delegate. Those that still run are found from the results backwards: of a delegated part only
    its own inputs are needed.
    """
    details: Sequence[Mapping[str, Any]] = interpreter._get_ops_details()
    producer: dict[int, Mapping[str, Any]] = {}
    for operator in details:  # a delegated part comes last, and so replaces what it stands for
        producer.update({int(index): operator for index in operator["outputs"]})
    waiting = [info["index"] for info in interpreter.get_output_details()]
    seen: set[int] = set()
    left: dict[int, str] = {}
    while waiting:
        index = int(waiting.pop())
        if index in seen or index not in producer:
            continue
        seen.add(index)
        operator = producer[index]
        if operator["op_name"] != _DELEGATE:
            left[operator["index"]] = operator["op_name"]
        waiting.extend(int(i) for i in operator["inputs"])
    return tuple(left[index] for index in sorted(left))


@lru_cache(maxsize=1)
def _load_delegate() -> bool:
    """Whether a convolution is delegated; LiteRT's one line about it goes to no terminal."""
    g = GraphBuilder("probe")
    with g.scope("probe"):
        g.output(g.conv(g.input("input", (1, 8, 8, 8)), 8, 3, name="conv"), "output")
    graph = g.build()
    model = to_tflite(graph, random_weights(graph, np.random.default_rng(_EXAMPLE_SEED)))
    with _without_stderr():
        interpreter = _interpreter(model, threads=1)
    return not _undelegated(interpreter)


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep what native code writes to the error stream away from the user's screen."""
    with tempfile.TemporaryFile() as taken:
        kept = os.dup(2)
        try:
            os.dup2(taken.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
