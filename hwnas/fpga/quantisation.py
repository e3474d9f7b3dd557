"""Networks in int8: ONNX Runtime quantises and runs them, and their convolutions go to the array.

Weights are symmetric per output channel and have 7 bits: on processors without VNNI, ONNX Runtime
adds pairs of products in 16 bits, which saturate at 8. So its results are the same everywhere, and
those of the array equal them bit for bit.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from hwnas.errors import LoweringError
from hwnas.fpga.arithmetic import Requantisation
from hwnas.fpga.reference import Int8, QuantisedLayer, convolution_patches, reference_outputs
from hwnas.fpga.simulator import ArraySimulator

__all__ = [
    "CheckedLayer",
    "QuantisedConvolution",
    "check_on_array",
    "integer_tensors",
    "quantise_network",
    "quantised_convolutions",
]


@dataclass(frozen=True, eq=False)
class QuantisedConvolution:
    """A `QLinearConv` of a quantised model.

    Args:
        name: Of the operator.
        input: Name of the int8 tensor it reads.
        output: Name of the int8 tensor it writes.
        layer: Weights and requantisation.
        kernel: R and S.
        strides: Down and across.
        pads: Top, left, bottom, right.
        dilations: Down and across.
        zero_point: Of the input.
    """

    name: str
    input: str
    output: str
    layer: QuantisedLayer
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    zero_point: int

    def patches(self, images: Int8) -> Int8:
        """`(groups, pixels, depth)` of images `(batch, channels, height, width)`."""
        return convolution_patches(
            images,
            self.kernel,
            strides=self.strides,
            pads=self.pads,
            dilations=self.dilations,
            groups=self.layer.weights.shape[0],
            zero_point=self.zero_point,
        )


@dataclass(frozen=True)
class CheckedLayer:
    """How a convolution came out of the simulated array.

    Args:
        name: Of the operator.
        outputs: How many.
        differing_from_runtime: Of them, from ONNX Runtime's.
        differing_from_reference: Of them, from the NumPy model's.
        cycles: Simulated.
        predicted_cycles: By the closed form.
    """

    name: str
    outputs: int
    differing_from_runtime: int
    differing_from_reference: int
    cycles: int
    predicted_cycles: int


def quantise_network(model: onnx.ModelProto, images: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """Static quantisation, with ranges from some images.

    Args:
        model: A network of one input, batch normalisation folded.
        images: `(n, 1, channels, height, width)`: n inputs.

    Raises:
        LoweringError: The model has not one input, there is no image, or ONNX Runtime refuses.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or not len(images):
        raise LoweringError(f"one input and some images are needed, not {inputs}, {len(images)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantised.onnx"
        try:
            quantize_static(
                model,
                path,
                _Images(inputs[0], images),
                quant_format=QuantFormat.QOperator,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
            )
        except Exception as error:  # of many kinds, none documented
            raise LoweringError(f"ONNX Runtime cannot quantise the network: {error}") from error
        return onnx.load(path)


def quantised_convolutions(model: onnx.ModelProto) -> list[QuantisedConvolution]:
    """All `QLinearConv` of a model with int8 operands, in its order.

    Raises:
        LoweringError: A constant is missing, or weights have a zero point.
    """
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    return [_convolution(node, constants) for node in _convolution_nodes(model)]


def integer_tensors(
    model: onnx.ModelProto, image: npt.NDArray[np.float32], names: Sequence[str]
) -> Mapping[str, Int8]:
    """Values inside a quantised model, as ONNX Runtime computes them, by name.

    Args:
        model: The model.
        image: Its input.
        names: Tensors that operators give.
    """
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in shown.graph.output}
    for name in names:
        if name not in known:
            kind = onnx.TensorProto.INT8
            shown.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = session.run(list(names), {session.get_inputs()[0].name: image})
    return dict(zip(names, found, strict=True))


def check_on_array(
    model: onnx.ModelProto,
    image: npt.NDArray[np.float32],
    simulator: ArraySimulator,
    layers: int | None = None,
) -> list[CheckedLayer]:
    """Run the first convolutions of a quantised model through the simulated array.

    Args:
        model: The model.
        image: Its input.
        simulator: The array.
        layers: How many of the convolutions; all by default.
    """
    convolutions = quantised_convolutions(model)[:layers]
    names = sorted({name for each in convolutions for name in (each.input, each.output)})
    tensors = integer_tensors(model, image, names)
    checked = []
    for each in convolutions:
        patches = each.patches(tensors[each.input])
        wanted = _channels_last(tensors[each.output])
        found = simulator.run(patches, each.layer)
        reference = reference_outputs(patches, each.layer)
        checked.append(
            CheckedLayer(
                each.name,
                wanted.size,
                int((found.outputs != wanted).sum()),
                int((found.outputs != reference).sum()),
                found.cycles,
                found.predicted_cycles,
            )
        )
    return checked


class _Images:
    """What ONNX Runtime calibrates with."""

    def __init__(self, name: str, images: npt.NDArray[np.float32]) -> None:
        self._name = name
        self._images = iter(images)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image}

    def set_range(self, start_index: int, end_index: int) -> None:
        """Calibrators that go through the images in parts ask for one; all are in memory."""


def _convolution_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.op_type == "QLinearConv")


def _convolution(
    node: onnx.NodeProto, constants: Mapping[str, npt.NDArray[Any]]
) -> QuantisedConvolution:
    """Inputs are x, w and y, each with scale and zero point but y without value, and the bias."""
    try:
        x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (
            constants[name] for name in node.input[1:8]
        )
        bias = constants[node.input[8]] if len(node.input) > 8 else np.zeros(len(w), np.int32)
    except KeyError as missing:
        raise LoweringError(f"{node.name}: {missing} is no constant") from missing
    if w.dtype != np.int8 or x_zero.dtype != np.int8 or w_zero.any():
        raise LoweringError(f"{node.name}: the array takes int8 with symmetric weights")
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    groups = int(given.get("group", 1))
    kernel = w.shape[2:]
    flat = w.reshape(groups, len(w) // groups, -1).transpose(0, 2, 1)
    zero_point = int(x_zero.item())
    sums = w.reshape(len(w), -1).astype(np.int64).sum(axis=1)
    scale = x_scale.reshape(-1) * w_scale.reshape(-1) / y_scale.reshape(-1)
    how = Requantisation(
        bias.astype(np.int64) - zero_point * sums,
        np.broadcast_to(scale.astype(np.float32), (len(w),)).copy(),
        int(y_zero.item()),
    )
    return QuantisedConvolution(
        node.name,
        node.input[0],
        node.output[0],
        QuantisedLayer(np.ascontiguousarray(flat), how),
        kernel,
        tuple(given.get("strides", (1, 1))),
        tuple(given.get("pads", (0, 0, 0, 0))),
        tuple(given.get("dilations", (1, 1))),
        zero_point,
    )


def _channels_last(images: Int8) -> Int8:
    return np.ascontiguousarray(np.moveaxis(images, 1, -1).reshape(-1, images.shape[1]))
