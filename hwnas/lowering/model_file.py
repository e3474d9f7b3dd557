"""ONNX files of anyone, read for what they say: hostile until checked.

Nothing outside the file is opened. Of weights stored elsewhere only shape and type are needed;
where their values would be needed too, the file is refused.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx

from hwnas.errors import LoweringError
from hwnas.lowering.fold_sizes import SMALL, fold_sizes
from hwnas.lowering.onnx_model import check_onnx

__all__ = ["ModelFile", "check_size", "fix_batch", "read_model"]

_LARGEST_MODEL_BYTES = 2**31  # protobuf's own limit, and that of flatbuffers
_MOST_OPERATORS = 100_000
_MOST_ELEMENTS = 2**31 - 1  # of one value; the native library counts in int32


@dataclass(frozen=True, eq=False)
class ModelFile:
    """What a model file says.

    Args:
        model: Checked, with fixed sizes; large weights are inputs without values, and what
            computes sizes is gone.
        weights: Names of these inputs.
        size_bytes: Of the file.
    """

    model: onnx.ModelProto
    weights: frozenset[str]
    size_bytes: int


def check_size(path: Path) -> int:
    """Bytes of a model file.

    Raises:
        LoweringError: It is missing, empty or too large.
    """
    if not path.is_file():
        raise LoweringError(f"model {path} does not exist")
    size = path.stat().st_size
    if not 0 < size < _LARGEST_MODEL_BYTES:
        raise LoweringError(f"model {path} has {size} bytes; 1 byte to 2 GiB can be read")
    return size


def read_model(path: Path) -> ModelFile:
    """Read an ONNX file without the values of its large weights; a free batch size becomes 1.

    Raises:
        LoweringError: The file is missing or too large, no valid ONNX, holds what has no fixed
            cost (free sizes, branches, loops, functions), or a value of more than 2^31 elements.
    """
    size = check_size(path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's own classes differ between its implementations
        raise LoweringError(f"{path} is no ONNX model: {error}") from error
    if not proto.graph.node:
        raise LoweringError(f"{path} is no ONNX model, or one without operators")
    try:
        _check_structure(proto)
        weights = _drop_values(proto.graph)
        fix_batch(proto, weights)
        check_onnx(proto)
        proto = fold_sizes(proto)
        _check_elements(proto.graph)
    except LoweringError:
        raise
    except (TypeError, ValueError) as error:  # names that are no text, types that do not exist
        raise LoweringError(f"{path} is malformed: {error}") from error
    return ModelFile(proto, weights, size)


def fix_batch(model: onnx.ModelProto, weights: frozenset[str] = frozenset()) -> None:
    """Set a free batch size to 1, in place; shapes of what is computed are left to inference.

    Args:
        model: The model.
        weights: Names of inputs that are weights.

    Raises:
        LoweringError: Another size of an input is free.
    """
    graph = model.graph
    del graph.value_info[:]  # shapes that may hold the free size
    still = weights | {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in still]
    for value in (*inputs, *graph.output):
        sides = value.type.tensor_type.shape.dim
        if sides and not sides[0].HasField("dim_value"):
            sides[0].dim_value = 1
    for value in inputs:
        shape = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if not all(side > 0 for side in shape):
            raise LoweringError(
                f"input {value.name!r} has shape {shape}, 0 for a free size: fix every size first"
            )


def _check_structure(model: onnx.ModelProto) -> None:
    graph = model.graph
    if len(graph.node) > _MOST_OPERATORS:
        raise LoweringError(
            f"model has {len(graph.node)} operators; at most {_MOST_OPERATORS} can be read"
        )
    if model.functions:
        raise LoweringError(
            f"model has functions of its own ({model.functions[0].name[:100]!r}): inline them "
            "with onnx.inliner first"
        )
    kinds = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    for node in graph.node:
        if any(attribute.type in kinds for attribute in node.attribute):
            raise LoweringError(
                f"operator {node.op_type} ({node.name[:100]!r}) runs a graph of its own, how "
                "often is known at run time only: its cost cannot be predicted"
            )
        for attribute in node.attribute:
            if attribute.t.data_location == onnx.TensorProto.EXTERNAL:
                raise _outside(node.name)


def _drop_values(graph: onnx.GraphProto) -> frozenset[str]:
    """Make inputs without values of large weights, in place, and give their names."""
    declared = {value.name for value in graph.input}
    kept, dropped = [], []
    for tensor in graph.initializer:
        elements = prod(tensor.dims)
        outside = tensor.data_location == onnx.TensorProto.EXTERNAL
        if min(tensor.dims, default=0) < 0:
            raise LoweringError(f"weight {tensor.name[:100]!r} has shape {list(tensor.dims)}")
        if outside and elements <= 1:
            raise _outside(tensor.name)
        if not outside and elements <= SMALL:
            kept.append(tensor)
            continue
        dropped.append(tensor.name)
        if tensor.name not in declared:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return frozenset(dropped)


def _outside(name: str) -> LoweringError:
    return LoweringError(
        f"the value of {name[:100]!r} lies outside the file, which is not opened: save the model "
        "as one file"
    )


def _check_elements(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if prod(sides) > _MOST_ELEMENTS:
            raise LoweringError(
                f"value {value.name[:100]!r} has {prod(sides)} elements; at most "
                f"{_MOST_ELEMENTS} can be costed"
            )
