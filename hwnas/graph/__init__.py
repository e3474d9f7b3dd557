"""Networks as ONNX graphs: built, counted, keyed."""

from hwnas.graph.builder import GraphBuilder
from hwnas.graph.counts import GraphCounts, count_graph
from hwnas.graph.critical_path import critical_path, heaviest_path
from hwnas.graph.encode import GraphEncoding, encode
from hwnas.graph.graph import IR_VERSION, OPSET_VERSION, Graph, Shape, shape_of
from hwnas.graph.kernels import Kernel, kernel_key, kernel_signature
from hwnas.graph.liveness import peak_activation_bytes

__all__ = [
    "IR_VERSION",
    "OPSET_VERSION",
    "Graph",
    "GraphBuilder",
    "GraphCounts",
    "GraphEncoding",
    "Kernel",
    "Shape",
    "count_graph",
    "critical_path",
    "encode",
    "heaviest_path",
    "kernel_key",
    "kernel_signature",
    "peak_activation_bytes",
    "shape_of",
]
