"""A network as an `onnx_ir` model with known shapes.

`Graph` adds nothing to the representation: it names the parts that hwnas asks for. Weights without
values are inputs of the ONNX graph that come after the data inputs; weights with values are
initializers, as in any ONNX file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from hwnas.errors import LoweringError

__all__ = ["IR_VERSION", "OPSET_VERSION", "WEIGHT_MARK", "Graph", "Shape", "shape_of"]

OPSET_VERSION = 18
IR_VERSION = 10

WEIGHT_MARK = "hwnas.weight"
"""Key in `onnx_ir.Value.meta` of a weight that was declared without a value."""

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """One network, or one block of one.

    Args:
        model: The `onnx_ir` model.
    """

    model: ir.Model

    @property
    def name(self) -> str:
        """Name of the graph."""
        return self.model.graph.name or "graph"

    @cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Operators in topological order."""
        return tuple(self.model.graph)

    @cached_property
    def weights(self) -> Mapping[str, ir.Value]:
        """Weights by name, with or without values; scalar constants do not count."""
        graph = self.model.graph
        unbound = {v.name or "": v for v in graph.inputs if WEIGHT_MARK in v.meta}
        bound = {n: v for n, v in graph.initializers.items() if v.shape is None or v.shape.rank()}
        return unbound | bound

    @cached_property
    def inputs(self) -> tuple[ir.Value, ...]:
        """Data inputs."""
        weights = self.weights
        return tuple(v for v in self.model.graph.inputs if v.name not in weights)

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        """Outputs."""
        return tuple(self.model.graph.outputs)


def shape_of(value: ir.Value) -> Shape:
    """Shape of a value as plain integers.

    Raises:
        LoweringError: The shape is unknown or symbolic.
    """
    shape = value.shape
    if shape is not None:
        sides = shape.dims
        if all(type(side) is int for side in sides):
            return sides  # type: ignore[return-value]
    raise LoweringError(
        f"value {value.name!r} has no known shape ({shape}): hwnas needs static shapes, "
        "fix the batch and image size before handing the model over"
    )
