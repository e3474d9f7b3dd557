"""Networks as shared libraries: written, and run from their file. Runs in the TVM process."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax
from tvm.target import codegen

from hwnas.tvm_worker.building import compile_module, llvm_target
from hwnas.tvm_worker.cross_compiling import find_linker
from hwnas.tvm_worker.kernels import kernels_of
from hwnas.tvm_worker.messages import CodeTarget, ExportedLibrary, ExportLibrary
from hwnas.tvm_worker.relax_module import fuse, import_onnx

__all__ = ["export_library", "run_library"]


def export_library(request: ExportLibrary) -> ExportedLibrary:
    """Write a model as a shared library.

    Raises:
        LoweringError: TVM does not take the model.
        TargetError: LLVM does not know the processor, or there is no linker for it.
    """
    module = fuse(import_onnx(request.model))
    kernels = kernels_of(module)
    code = request.target
    target = llvm_target(code)
    untuned = list(kernels)
    if request.database is not None:
        from hwnas.tvm_worker.tuning.tuner import apply_database

        module, left = apply_database(module, target, Path(request.database))
        untuned = list(left)
    if request.twin:
        module = _without_targets(module)
        code = CodeTarget(cores=code.cores)
        target = llvm_target(code)
    executable = compile_module(module, target)
    executable.export_library(request.path, fcompile=find_linker(code))
    return ExportedLibrary(
        str(target.attrs.get("mcpu", "generic")),
        _triple(target),
        len(kernels),
        tuple(kernels[name].signature for name in untuned),
    )


def run_library(path: Path, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Outputs of a library for each image, `(n, ...)`; it is loaded from its file."""
    main = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())["main"]
    outputs = []
    for image in images:
        found = main(tvm.runtime.tensor(np.ascontiguousarray(image[None])))
        outputs.append((found if isinstance(found, tvm.runtime.Tensor) else found[0]).numpy())
    return np.concatenate(outputs)


def _triple(target: tvm.target.Target) -> str:
    return str(target.attrs.get("mtriple", codegen.llvm_get_system_triple()))


def _without_targets(module: tvm.IRModule) -> tvm.IRModule:
    """The same functions, not bound to the processor that they were scheduled for."""
    functions = {
        name: f.without_attr("target") if f.attrs is not None and "target" in f.attrs else f
        for name, f in module.functions_items()
    }
    return tvm.IRModule(functions, attrs=module.attrs)
