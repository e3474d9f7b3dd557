"""Graph to a `.tflite` file: TensorFlow Lite's flatbuffer, which LiteRT runs on phones.

The file is written from the graph itself, without torch or a compiler between: the same graph and
weights give the same bytes, so that a network which was measured can be told from one which was
not. The package `ai-edge-litert` brings the schema.

Differs from `litert-torch`, which converts any torch module: only operators of `hwnas.graph` are
known, images go in channels last, and there are no transpositions inside.
"""

from collections.abc import Collection, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import LoweringError, PluginError
from hwnas.graph import Graph
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.lowering.onnx_model import Weights
from hwnas.lowering.tflite_lowering import TfliteLowering, refused
from hwnas.lowering.tflite_network import TfliteNetwork, TfliteTensor, with_fused_activations
from hwnas.lowering.tflite_operators import OPERATORS

__all__ = ["REMEDY", "SIGNATURE", "blocks_to_tflite", "to_tflite"]

REMEDY = "pip install 'hwnas[litert]'"
SIGNATURE = "serving_default"
"""Name under which an application finds the network's inputs and outputs by their names."""

_LIMIT_BYTES = 2**31 - 1  # offsets in a flatbuffer are signed 32-bit numbers
_ALIGNMENT_BYTES = 16  # schema.fbs: `data:[ubyte] (force_align: 16)`
_SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
_LARGEST_OLD_CODE = 127  # operators above are named by the second field alone

_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "HARD_SWISH": "HardSwishOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MUL": "MulOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "RESHAPE": "ReshapeOptions",
    "SLICE": "SliceOptions",
    "TRANSPOSE": "TransposeOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}
"""Operator to its table of options; the others have none."""


def to_tflite(graph: Graph, weights: Weights) -> bytes:
    """The content of a `.tflite` file.

    Inputs and outputs of rank 4 are `(n, h, w, c)`, others as in the graph; numbers are float32,
    batch normalisation is folded, the batch size is the graph's.

    Args:
        graph: The network.
        weights: A value for every weight that the graph leaves unbound.

    Raises:
        LoweringError: An operator has no counterpart, a weight is missing, or the file would have
            over 2 GiB.
        PluginError: `ai-edge-litert` is not installed.
    """
    return _written(_lowered(*fold_batch_norm(graph, weights)))


def blocks_to_tflite(graph: Graph, weights: Weights, blocks: Collection[str]) -> dict[str, bytes]:
    """The operators of a network's file, cut at the borders of its blocks.

    All layouts are the same, so a piece has no operator that the network does not have. Its inputs
    and outputs keep the names that their tensors have in the network.

    Args:
        graph: The network; operators are named `block/...`.
        weights: As for `to_tflite`.
        blocks: Names of the wanted blocks.

    Returns:
        A file for every wanted block that has an operator.

    Raises:
        LoweringError: As for `to_tflite`.
        PluginError: As for `to_tflite`.
    """
    network = _lowered(*fold_batch_norm(graph, weights))
    pieces = {block: _piece(network, block) for block in blocks}
    return {
        block: _written(piece)
        for block, piece in pieces.items()
        if piece.operators and piece.inputs and piece.outputs
    }


def _lowered(graph: Graph, weights: Weights) -> TfliteNetwork:
    """The network as operators of TensorFlow Lite, activations fused within each block.

    Args:
        graph: The network.
        weights: A value for every weight that the graph leaves unbound.

    Raises:
        LoweringError: An operator has no counterpart, or a weight is missing; the message names
            the node.
    """
    lowering = TfliteLowering(graph, weights)
    for node in graph.nodes:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise refused(node, f"hwnas knows {', '.join(sorted(OPERATORS))} in TensorFlow Lite")
        if len(node.outputs) != 1:
            raise refused(node, f"it has {len(node.outputs)} outputs")
        OPERATORS[node.op_type](lowering, node)
    outputs = tuple([lowering.tensor(value, None) for value in graph.outputs])
    operators = with_fused_activations(lowering.operators, outputs)
    return TfliteNetwork(graph.name, operators, tuple(lowering.inputs), outputs)


def _piece(network: TfliteNetwork, block: str) -> TfliteNetwork:
    inside = [operator for operator in network.operators if operator.owner == block]
    made = {operator.output: None for operator in inside}
    read = [t for o in inside for t in o.inputs if t.data is None and t not in made]
    wanted = set(network.outputs)
    wanted |= {t for o in network.operators if o.owner != block for t in o.inputs}
    leaving = [tensor for tensor in made if tensor in wanted]
    return TfliteNetwork(block, tuple(inside), tuple(dict.fromkeys(read)), tuple(leaving))


def _written(network: TfliteNetwork) -> bytes:
    schema, builder = _schema(), _aligned_builder()
    if not network.operators:
        raise LoweringError(f"{network.name!r} has no operator: there is nothing to write")
    model = schema.ModelT()
    model.version = _SCHEMA_VERSION
    model.description = "hwnas"
    buffers = _Buffers(schema)
    tensors: dict[TfliteTensor, int] = {}
    codes: dict[tuple[str, int], int] = {}
    subgraph = schema.SubGraphT()
    subgraph.name = network.name
    subgraph.tensors = []
    subgraph.operators = []

    def index(tensor: TfliteTensor) -> int:
        if tensor not in tensors:
            tensors[tensor] = len(tensors)
            subgraph.tensors.append(_tensor(schema, tensor, buffers.index(tensor.data)))
        return tensors[tensor]

    subgraph.inputs = [index(tensor) for tensor in network.inputs]
    for operator in network.operators:
        made = schema.OperatorT()
        made.opcodeIndex = codes.setdefault((operator.code, operator.version), len(codes))
        made.inputs = [index(tensor) for tensor in operator.inputs]
        made.outputs = [index(operator.output)]
        if operator.code in _OPTIONS:
            table = _OPTIONS[operator.code]
            made.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            made.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in operator.options.items():
                setattr(made.builtinOptions, name, value)
        subgraph.operators.append(made)
    subgraph.outputs = [index(tensor) for tensor in network.outputs]
    model.subgraphs = [subgraph]
    model.operatorCodes = [_code(schema, name, version) for name, version in codes]
    model.buffers = buffers.tables
    model.signatureDefs = [_signature(schema, network, tensors)]
    if buffers.size_bytes > _LIMIT_BYTES:
        raise LoweringError(
            f"{network.name!r} has {buffers.size_bytes} bytes of weights; tflite files hold 2 GiB"
        )
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


class _Buffers:
    """Contents of constants; equal ones are stored once. The first is empty by convention."""

    def __init__(self, schema: ModuleType) -> None:
        self._schema = schema
        self._known: dict[bytes, int] = {}
        self.tables = [schema.BufferT()]
        self.size_bytes = 0

    def index(self, data: npt.NDArray[Any] | None) -> int:
        """Where the content stands; 0 for what is computed."""
        if data is None:
            return 0
        content = data.astype(data.dtype.newbyteorder("<"), copy=False).tobytes()
        if content not in self._known:
            self._known[content] = len(self.tables)
            table = self._schema.BufferT()
            table.data = np.frombuffer(content, dtype=np.uint8)
            self.tables.append(table)
            self.size_bytes += len(content)
        return self._known[content]


def _tensor(schema: ModuleType, tensor: TfliteTensor, buffer: int) -> Any:
    table = schema.TensorT()
    table.name = tensor.name
    table.shape = list(tensor.shape)
    is_index = tensor.data is not None and tensor.data.dtype == np.int32
    table.type = schema.TensorType.INT32 if is_index else schema.TensorType.FLOAT32
    table.buffer = buffer
    return table


def _code(schema: ModuleType, name: str, version: int) -> Any:
    table = schema.OperatorCodeT()
    table.builtinCode = getattr(schema.BuiltinOperator, name)
    table.deprecatedBuiltinCode = min(table.builtinCode, _LARGEST_OLD_CODE)
    table.version = version
    return table


def _signature(
    schema: ModuleType, network: TfliteNetwork, tensors: Mapping[TfliteTensor, int]
) -> Any:
    def named(found: Sequence[TfliteTensor]) -> list[Any]:
        tables = []
        for tensor in found:
            table = schema.TensorMapT()
            table.name, table.tensorIndex = tensor.name, tensors[tensor]
            tables.append(table)
        return tables

    table = schema.SignatureDefT()
    table.signatureKey = SIGNATURE
    table.subgraphIndex = 0
    table.inputs, table.outputs = named(network.inputs), named(network.outputs)
    return table


def _schema() -> ModuleType:
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise PluginError(f"tflite files need ai-edge-litert ({error}): {REMEDY}") from error
    return schema_py_generated  # type: ignore[no-any-return]


def _aligned_builder() -> Any:
    """A builder that aligns weights as the schema asks; generated Python code does not."""
    import flatbuffers

    class AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802 (its name)
            if x.dtype != np.uint8:
                return int(super().CreateNumpyVector(x))
            self.StartVector(1, x.size, _ALIGNMENT_BYTES)
            self.head: int = self.head - x.size
            self.Bytes[self.head : self.head + x.size] = x.tobytes()
            self.vectorNumElems = x.size
            return int(self.EndVector())

    return AlignedBuilder(1 << 16)
