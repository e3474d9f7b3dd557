"""Networks are built for one input at a time; here they are made to take several at once."""

import onnx

from hwnas.errors import LoweringError

__all__ = ["set_batch"]

_FREE = (0, -1)  # entries of a Reshape that take any batch: that of the input, or what is left


def set_batch(model: onnx.ModelProto, batch: int) -> None:
    """Set the first size of every input and infer all other shapes anew, in place.

    Initializers are no inputs. A model that already takes `batch` inputs stays as it is, apart
    from shapes that were not written down.

    Args:
        model: A model with a batch of 1, or with a free one.
        batch: Inputs at once, at least 1.

    Raises:
        LoweringError: An input has another first size, or a free size besides; a Reshape fixes
            the old batch; or the model does not work with the new one.
    """
    if batch < 1:
        raise LoweringError(f"a batch of {batch} was asked for; at least 1 makes sense")
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    changes = False
    for value in inputs:
        sides = value.type.tensor_type.shape.dim
        fixed = sides[0].dim_value if sides and sides[0].HasField("dim_value") else 0
        if not sides or fixed not in (0, 1, batch):
            shape = [side.dim_value or side.dim_param for side in sides]
            raise LoweringError(
                f"input {value.name!r} of shape {shape} cannot take a batch of {batch}: its first "
                "size must be 1 or free"
            )
        free = [side.dim_param for side in sides[1:] if side.dim_value < 1]
        if free:
            raise LoweringError(f"input {value.name!r} has free sizes besides the batch: fix them")
        changes |= fixed != batch
        sides[0].dim_value = batch
    if changes:
        _check_reshapes(graph, {value.name for value in inputs}, batch)
    del graph.value_info[:]
    for value in graph.output:
        sides = value.type.tensor_type.shape.dim
        if sides:
            sides[0].Clear()
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise LoweringError(
            f"{graph.name!r} does not work with a batch of {batch}: {error}"
        ) from error
    model.CopyFrom(inferred)


def _check_reshapes(graph: onnx.GraphProto, data: set[str], batch: int) -> None:
    """Refuse a Reshape to a constant shape whose first size is a number, of what inputs decide."""
    shapes = {
        tensor.name: _numbers(tensor)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64
        and tensor.data_location != onnx.TensorProto.EXTERNAL
    }
    for node in graph.node:  # in topological order
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value_ints":
                    shapes[node.output[0]] = list(attribute.ints)
                elif attribute.name == "value":
                    shapes[node.output[0]] = _numbers(attribute.t)
        if data.isdisjoint(node.input):
            continue
        data.update(node.output)
        if node.op_type != "Reshape" or node.input[0] not in data:
            continue
        shape = shapes.get(node.input[1])
        if shape and shape[0] not in _FREE:
            raise LoweringError(
                f"Reshape {node.name!r} to {shape} fixes the batch, and "
                f"one of {batch} was asked for: export the model with a free batch size"
            )


def _numbers(tensor: onnx.TensorProto) -> list[int]:
    return [int(number) for number in onnx.numpy_helper.to_array(tensor).ravel()]
