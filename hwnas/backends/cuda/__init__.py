"""NVIDIA GPUs, by torch, TVM or ONNX Runtime as the target says."""

from hwnas.backends.cuda.runtimes import cuda_backend

__all__ = ["cuda_backend"]
