"""ONNX files of anyone as a graph with weights beside it, as networks of our spaces are."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph import Graph
from hwnas.graph.graph import WEIGHT_MARK
from hwnas.lowering.model_file import read_model

__all__ = ["graph_of_file"]


def graph_of_file(path: Path) -> tuple[Graph, dict[str, npt.NDArray[np.float32]]]:
    """Read a model file, which is hostile.

    Returns:
        The graph, with a free batch size set to 1, and the values of its float32 weights.

    Raises:
        LoweringError: The file cannot be read, or keeps weights elsewhere or in another type.
    """
    model = read_model(path)
    proto = onnx.ModelProto()
    proto.ParseFromString(path.read_bytes())
    large = {t.name: t for t in proto.graph.initializer if t.name in model.weights}
    try:
        graph = Graph(ir.from_proto(model.model))
        values = {name: _array(tensor) for name, tensor in large.items()}
    except (ir.serde.SerdeError, TypeError, ValueError) as error:
        raise LoweringError(f"{path} is malformed: {error}") from error
    inner = graph.model.graph
    for value in inner.inputs:
        if value.name in values:
            value.meta[WEIGHT_MARK] = True
    for name, value in list(inner.initializers.items()):
        small = value.const_value
        if small is None or value.dtype != ir.DataType.FLOAT or not small.shape.rank():
            continue  # sizes and scalars are constants of their operators
        values[name] = small.numpy()
        inner.initializers.pop(name)
        value.const_value = None
        value.meta[WEIGHT_MARK] = True
        inner.inputs.append(value)
    return Graph(graph.model), values


def _array(tensor: onnx.TensorProto) -> npt.NDArray[np.float32]:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise LoweringError(
            f"the value of {tensor.name[:100]!r} lies outside the file, which is not opened: save "
            "the model as one file"
        )
    if tensor.data_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise LoweringError(f"weight {tensor.name[:100]!r} is {kind}; float32 can be lowered")
    array: npt.NDArray[np.float32] = onnx.numpy_helper.to_array(tensor)
    return array
