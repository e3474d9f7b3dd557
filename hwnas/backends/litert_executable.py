"""A TFLite file, loaded by LiteRT with XNNPACK.

XNNPACK is the delegate that LiteRT applies by itself where nothing else is asked for. It packs the
weights when the file is loaded; operators that it does not take run in LiteRT's own kernels.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.backends.backend import BlockExecutable
from hwnas.errors import LoweringError, PluginError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights
from hwnas.lowering.tflite_model import REMEDY, to_tflite

__all__ = ["PACKAGE", "LitertExecutable", "delegates_to_xnnpack", "undelegated_operators"]

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
        delegates_to_xnnpack()
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
        return undelegated_operators(self._interpreter)

    def _value(self, index: int) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = self._interpreter.get_tensor(index)
        return found


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


def undelegated_operators(interpreter: Any) -> tuple[str, ...]:
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
def delegates_to_xnnpack() -> bool:
    """Whether a convolution is delegated; LiteRT's one line about it goes to no terminal."""
    g = GraphBuilder("probe")
    with g.scope("probe"):
        g.output(g.conv(g.input("input", (1, 8, 8, 8)), 8, 3, name="conv"), "output")
    graph = g.build()
    model = to_tflite(graph, random_weights(graph, np.random.default_rng(_EXAMPLE_SEED)))
    with _without_stderr():
        interpreter = _interpreter(model, threads=1)
    return not undelegated_operators(interpreter)


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
