"""Graph to ONNX: with weight values, or with the weights as inputs."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from hwnas.errors import LoweringError
from hwnas.graph import Graph, shape_of

__all__ = ["Weights", "check_onnx", "random_weights", "to_onnx"]

Weights = Mapping[str, npt.NDArray[np.float32]]
_LIMIT_BYTES = 2**31 - 1  # protobuf's own limit on one message


def to_onnx(graph: Graph, weights: Weights | None = None) -> onnx.ModelProto:
    """Serialise a graph.

    Args:
        graph: The network.
        weights: Values by name; every unbound weight needs one of its shape. Without it, unbound
            weights stay inputs of the model.

    Raises:
        LoweringError: A value is missing or has another shape, or the model is over 2 GiB.
    """
    proto = ir.to_proto(graph.model)
    if weights is None:
        return proto
    unbound = [name for name, value in graph.weights.items() if value.const_value is None]
    total = 0
    for name in unbound:
        shape = shape_of(graph.weights[name])
        found = weights.get(name)
        if found is None:
            raise LoweringError(f"weight {name!r} of {graph.name!r} has no value")
        if found.shape != shape:
            raise LoweringError(f"weight {name!r} is {found.shape}, the graph wants {shape}")
        total += found.nbytes
    if total > _LIMIT_BYTES:
        raise LoweringError(f"{graph.name!r} has {total} bytes of weights; ONNX files hold 2 GiB")
    names = set(unbound)
    kept = [value for value in proto.graph.input if value.name not in names]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    for name in unbound:
        tensor = proto.graph.initializer.add()
        tensor.name = name
        tensor.data_type = onnx.TensorProto.FLOAT
        tensor.dims.extend(shape_of(graph.weights[name]))
        tensor.raw_data = np.ascontiguousarray(weights[name], dtype="<f4").tobytes()
    return proto


def check_onnx(proto: onnx.ModelProto) -> None:
    """Run ONNX's own checker, shape inference included.

    Raises:
        LoweringError: The checker refuses the model; its message follows.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        UnicodeDecodeError,  # the checker's message quotes a name that is no UTF-8
    ) as error:
        raise LoweringError(f"model {proto.graph.name!r} is not valid ONNX: {error}") from error


def random_weights(graph: Graph, rng: np.random.Generator) -> dict[str, npt.NDArray[np.float32]]:
    """Random values that keep activations of a sound size, for timing and for comparisons.

    Kernels are drawn with variance 2 / fan-in (He et al., Delving Deep into Rectifiers, 2015),
    normalisation scales and variances near 1, other vectors near 0: no denormal numbers, which
    would slow a timed run.
    """
    values: dict[str, npt.NDArray[np.float32]] = {}
    for name, value in graph.weights.items():
        if value.const_value is not None:
            continue
        shape = shape_of(value)
        if len(shape) > 1:
            spread = np.sqrt(2.0 / np.prod(shape[1:]))
            array = rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)
        elif name.endswith(("/scale", "/variance")):
            array = rng.uniform(0.8, 1.2, shape).astype(np.float32)
        else:
            array = rng.uniform(-0.1, 0.1, shape).astype(np.float32)
        values[name] = array
    return values
