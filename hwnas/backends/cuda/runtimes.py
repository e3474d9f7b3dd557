"""Which backend serves a GPU target: one for each runtime, loaded only where it is used."""

from importlib import import_module

from hwnas.backends.backend import Backend
from hwnas.errors import TargetError
from hwnas.targets import Target

__all__ = ["cuda_backend"]

_BACKENDS = {
    "torch": ("torch_cuda", "TorchCudaBackend"),
    "tvm": ("tvm_cuda", "DefaultTvmCudaBackend"),
    "tvm-tuned": ("tvm_cuda", "TvmCudaBackend"),
    "onnxruntime": ("onnxruntime_cuda", "OnnxRuntimeCudaBackend"),
    "tensorrt": ("onnxruntime_cuda", "OnnxRuntimeCudaBackend"),
}


def cuda_backend(target: Target) -> Backend:
    """The backend of the runtime that a target names.

    Raises:
        TargetError: The target is no GPU.
    """
    if target.gpu is None:
        raise TargetError(f"target {target.name!r} wants backend 'cuda' and has no [gpu]")
    module, name = _BACKENDS[target.gpu.runtime]
    backend: Backend = getattr(import_module(f"hwnas.backends.cuda.{module}"), name)()
    return backend
