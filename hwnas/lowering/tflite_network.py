"""A network in TensorFlow Lite's operators, before it is written to a file."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from hwnas.graph import Shape

__all__ = [
    "NONE",
    "RELU",
    "RELU6",
    "Options",
    "TfliteNetwork",
    "TfliteOperator",
    "TfliteTensor",
    "with_fused_activations",
]

NONE, RELU, RELU6 = 0, 1, 3
"""Values of `ActivationFunctionType` in LiteRT's `schema.fbs`."""

_ACTIVATIONS = {"RELU": RELU, "RELU6": RELU6}
_TAKE_ACTIVATION = {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL"}

Options = dict[str, Any]


@dataclass(frozen=True, eq=False)
class TfliteTensor:
    """A tensor; the shape is in the file's layout.

    Args:
        name: Of the value in the graph, or of the node that needs it.
        shape: All sides are known.
        data: float32 or int32 for a constant, None for what is computed.
    """

    name: str
    shape: Shape
    data: npt.NDArray[Any] | None = None


@dataclass(frozen=True, eq=False)
class TfliteOperator:
    """One operator.

    Args:
        code: Name in the enum `BuiltinOperator`.
        inputs: Tensors.
        output: Its only result.
        options: Fields of the operator's options table.
        version: Of the operator.
        owner: Block that it belongs to.
    """

    code: str
    inputs: tuple[TfliteTensor, ...]
    output: TfliteTensor
    options: Options = field(default_factory=dict)
    version: int = 1
    owner: str = ""


@dataclass(frozen=True, eq=False)
class TfliteNetwork:
    """Operators in topological order, and what goes in and comes out."""

    name: str
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[TfliteTensor, ...]
    outputs: tuple[TfliteTensor, ...]


def with_fused_activations(
    operators: Sequence[TfliteOperator], outputs: Sequence[TfliteTensor]
) -> tuple[TfliteOperator, ...]:
    """Operators in which an activation is part of the operator of its block that it alone reads.

    Across the border of two blocks nothing is fused: blocks are measured one by one.
    """
    readers: dict[TfliteTensor, int] = {}
    for tensor in (*outputs, *(t for operator in operators for t in operator.inputs)):
        readers[tensor] = readers.get(tensor, 0) + 1
    made: dict[TfliteTensor, int] = {}
    fused: list[TfliteOperator] = []
    for operator in operators:
        place = made.get(operator.inputs[0]) if operator.inputs else None
        if operator.code in _ACTIVATIONS and place is not None:
            before = fused[place]
            if (
                before.code in _TAKE_ACTIVATION
                and not before.options.get("fusedActivationFunction", NONE)
                and readers[before.output] == 1
                and before.owner == operator.owner
            ):
                activation = {"fusedActivationFunction": _ACTIVATIONS[operator.code]}
                fused[place] = replace(
                    before, output=operator.output, options={**before.options, **activation}
                )
                made[operator.output] = place
                continue
        made[operator.output] = len(fused)
        fused.append(operator)
    return tuple(fused)
