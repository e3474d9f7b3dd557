"""Sessions of ONNX Runtime with inputs and results in fixed buffers, on any execution provider."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime as ort

from hwnas.backends.backend import BlockExecutable
from hwnas.backends.chaining import Written, choose_inputs
from hwnas.backends.onnxruntime_blocks import cut_blocks
from hwnas.errors import LoweringError
from hwnas.graph import Graph
from hwnas.graph.split import block_order, is_branching

__all__ = ["OrtExecutable", "Provider", "bind_blocks", "open_session", "optimised", "run_examples"]

Provider = tuple[str, Mapping[str, str]]
"""Name of an execution provider, and its options."""

_EXAMPLE_SEED = 0
_ELEMENTS = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}


class OrtExecutable:
    """A session with inputs and outputs bound to fixed buffers.

    Args:
        session: The session.
        inputs: Values by input name; copied into runtime-owned buffers.
        outputs: Example results by output name, whose shapes the result buffers take.
        place: Where the buffers lie, `cpu` or `cuda`.
        network: Of a piece, the network that it is cut from.
        is_branching: Whether blocks of that network read other blocks than the one before.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        *,
        place: str = "cpu",
        network: object = None,
        is_branching: bool = False,
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(inputs[name], place, 0) for name in inputs
        }
        self._outputs = {}
        for info in session.get_outputs():
            result = np.zeros_like(outputs[info.name])
            self._outputs[info.name] = ort.OrtValue.ortvalue_from_numpy(result, place, 0)
        self._read = dict(self._inputs)
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)
        self._is_branching = is_branching
        self._written = [
            Written(network, name, tuple(value.shape()), value)
            for name, value in self._outputs.items()
        ]
        self._within_reach = self._written
        self._network = network

    def run(self) -> None:
        """Run once."""
        self._session.run_with_iobinding(self._binding)

    def follow(self, previous: BlockExecutable | None) -> None:
        """Read each input from a buffer of the same shape that `previous` or one before it writes.

        In a network without branches only what `previous` itself writes counts.
        """
        earlier = previous._within_reach if isinstance(previous, OrtExecutable) else []
        shapes = {name: tuple(value.shape()) for name, value in self._inputs.items()}
        chosen = choose_inputs(shapes, self._network, earlier)
        for name, value in self._inputs.items():
            self._read[name] = chosen[name].value if name in chosen else value
            self._binding.bind_ortvalue_input(name, self._read[name])
        self._within_reach = [*self._written, *earlier] if self._is_branching else self._written

    def results(self) -> dict[str, np.ndarray]:
        """Outputs of the last run, by name."""
        return {name: value.numpy() for name, value in self._outputs.items()}


_Bound = TypeVar("_Bound", bound=OrtExecutable)


def open_session(
    source: str | bytes, options: ort.SessionOptions, providers: Sequence[Provider]
) -> ort.InferenceSession:
    """A session on the given providers, the preferred one first, and on no other.

    Raises:
        LoweringError: ONNX Runtime refuses the model, or cannot load the preferred provider.
    """
    wanted = [(name, dict(settings)) for name, settings in providers]
    try:
        # Left to itself, the package would print an error and take the CPU instead.
        session = ort.InferenceSession(source, options, providers=wanted, enable_fallback=0)
    except Exception as error:  # the runtime's exception classes share no base but Exception
        raise LoweringError(f"ONNX Runtime refuses the model: {error}") from error
    if wanted[0][0] not in session.get_providers():
        raise LoweringError(
            f"ONNX Runtime cannot load its {wanted[0][0]}: libraries that it needs are not "
            "installed, or are of another version than it was built for"
        )
    return session


def run_examples(
    session: ort.InferenceSession, element: str = "tensor(float)"
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Standard normal inputs of a session, and what it makes of them, by name.

    Args:
        session: The session.
        element: Type that its inputs must have, as ONNX Runtime calls it.

    Raises:
        LoweringError: An input has no fixed shape, or another type.
    """
    rng = np.random.default_rng(_EXAMPLE_SEED)
    inputs = {}
    kind = _ELEMENTS[element]
    for info in session.get_inputs():
        if not all(isinstance(side, int) and side > 0 for side in info.shape):
            raise LoweringError(
                f"input {info.name!r} has shape {info.shape}: fix every size to measure the model"
            )
        if info.type != element:
            raise LoweringError(f"input {info.name!r} is {info.type}, only {kind} is measured")
        inputs[info.name] = rng.standard_normal(info.shape, dtype=np.float32).astype(kind)
    names = [info.name for info in session.get_outputs()]
    return inputs, dict(zip(names, session.run(names, inputs), strict=True))


def optimised(
    model: onnx.ModelProto, options: ort.SessionOptions, providers: Sequence[Provider]
) -> onnx.ModelProto:
    """The graph that a session of these options really executes.

    Raises:
        LoweringError: ONNX Runtime refuses the model.
    """
    with TemporaryDirectory(prefix="hwnas-") as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        open_session(model.SerializeToString(), options, providers)
        return onnx.load(path)


def bind_blocks(
    model: onnx.ModelProto,
    graph: Graph,
    blocks: Collection[str],
    open_whole: Callable[[bytes], ort.InferenceSession],
    bind: Callable[..., _Bound],
    *,
    element: str = "tensor(float)",
    known: Iterable[onnx.ValueInfoProto] = (),
) -> dict[str, _Bound]:
    """Cut a network at the borders of its blocks and bind each piece to buffers of its own.

    One run of the network with the border tensors as outputs gives every piece an example input
    in its true layout.

    Args:
        model: The network, as cut.
        graph: The network, as built.
        blocks: Names of the wanted blocks.
        open_whole: Opens the network with the border tensors as outputs.
        bind: Makes an executable of a serialised piece and example values of the border tensors,
            `network` and `is_branching`.
        element: Type of the network's inputs.
        known: Types and shapes of border tensors.
    """
    everything, pieces = cut_blocks(model, blocks, block_order(graph), known)
    if not pieces:
        return {}
    inputs, results = run_examples(open_whole(everything.SerializeToString()), element)
    branching = is_branching(graph)
    return {
        block: bind(
            piece.SerializeToString(), inputs | results, network=model, is_branching=branching
        )
        for block, piece in pieces.items()
    }
