"""Graph to the forms that runtimes take."""

from hwnas.lowering.onnx_model import Weights, check_onnx, random_weights, to_onnx

__all__ = ["Weights", "check_onnx", "random_weights", "to_onnx"]
