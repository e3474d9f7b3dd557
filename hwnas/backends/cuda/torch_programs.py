"""Pieces of networks compiled by torch, each distinct one once.

Compiling a network takes as long as compiling its blocks, and those are the same few in all
networks of a space. A block is compiled with its weights as arguments, so one program serves
wherever it occurs, and a network is its blocks' programs one after the other, recorded together
into one CUDA graph. PyTorch calls this regional compilation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from hwnas.errors import LoweringError
from hwnas.graph import Graph
from hwnas.graph.split import Piece
from hwnas.graph.wiring import wiring_of
from hwnas.lowering.torch_module import TorchPlan

__all__ = ["Program", "ProgramCache", "TensorForm", "tensor_form", "weights_of"]

Program = Callable[..., tuple[Tensor, ...]]
"""Called with the inputs and then the weights of a piece."""


@dataclass(frozen=True)
class TensorForm:
    """How tensors lie in memory.

    Args:
        dtype: Of weights and activations.
        memory_format: Of tensors with four axes.
        tf32: Whether float32 products may be rounded to tf32.
    """

    dtype: torch.dtype
    memory_format: torch.memory_format
    tf32: bool

    def of(self, tensor: Tensor) -> Tensor:
        """A tensor in this form; integers keep their type."""
        given = tensor.to(self.dtype) if tensor.is_floating_point() else tensor
        if given.ndim == 4:
            given = given.contiguous(memory_format=self.memory_format)
        return given


_FORMS = {  # tensor cores take channels last; cuDNN's other kernels take channels first
    "float32": TensorForm(torch.float32, torch.contiguous_format, tf32=False),
    "tf32": TensorForm(torch.float32, torch.channels_last, tf32=True),
    "float16": TensorForm(torch.float16, torch.channels_last, tf32=False),
    "bfloat16": TensorForm(torch.bfloat16, torch.channels_last, tf32=False),
}


def tensor_form(precision: str) -> TensorForm:
    """The form of a target's precision.

    Raises:
        LoweringError: Networks of that precision are not run by torch here.
    """
    if precision not in _FORMS:
        raise LoweringError(f"precision {precision!r} is not run by torch: {', '.join(_FORMS)}")
    return _FORMS[precision]


def weights_of(graph: Graph) -> tuple[str, ...]:
    """Names of the weights that a program takes; sizes of reshapes and such are part of it."""
    return tuple(n for n, value in graph.weights.items() if value.dtype == ir.DataType.FLOAT)


class ProgramCache:
    """Compiled pieces by structure, shapes and form.

    Args:
        compile_piece: Makes a program of a traced piece; torch's compiler by default.
    """

    def __init__(
        self, compile_piece: Callable[[torch.fx.GraphModule], Program] | None = None
    ) -> None:
        self._compile = compile_piece or _compiled
        self._programs: dict[tuple[object, ...], Program] = {}

    def program(
        self, piece: Piece, inputs: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> Program:
        """The program of a piece; it has run once, so that nothing is left to be made.

        Args:
            piece: The piece.
            inputs: Examples.
            weights: In the order of `weights_of`.

        Raises:
            LoweringError: An operator has no torch counterpart, or torch's compiler fails.
        """
        form = tuple((t.dtype, t.device.type, tuple(t.shape), t.stride()) for t in inputs)
        key = (_structure(piece.graph), form, weights[0].dtype if weights else None)
        if key not in self._programs:
            traced = _traced(piece.graph, inputs, weights)
            self._programs[key] = self._compile(traced) if _computes(traced) else traced
            try:
                self._programs[key](*inputs, *weights)
            except Exception as error:  # the compiler's exception classes are many and private
                del self._programs[key]
                raise LoweringError(
                    f"torch does not compile block {piece.block!r}: {error}"
                ) from error
        return self._programs[key]


def _structure(graph: Graph) -> tuple[object, ...]:
    """Everything that a program depends on but for values of weights and names."""
    wiring = wiring_of(graph)
    return wiring.labels, wiring.wires.tobytes(), wiring.outputs.tobytes()


def _traced(
    graph: Graph, inputs: Sequence[Tensor], weights: Sequence[Tensor]
) -> torch.fx.GraphModule:
    """The piece as torch's operators on inputs and weights.

    Traced modules have code of their own; functions of one source would count as one function
    that is compiled again and again, which torch gives up after a few times.
    """
    plan, names, count = TorchPlan(graph), weights_of(graph), len(inputs)
    plan.to(inputs[0].device)

    def run(*arguments: Tensor) -> tuple[Tensor, ...]:
        return plan(arguments[:count], dict(zip(names, arguments[count:], strict=True)))

    module: torch.fx.GraphModule = make_fx(run)(*inputs, *weights)
    return module


def _computes(module: torch.fx.GraphModule) -> bool:
    return any(node.op == "call_function" for node in module.graph.nodes)


def _compiled(module: torch.fx.GraphModule) -> Program:
    program: Program = torch.compile(module, fullgraph=True, dynamic=False)
    return program
