"""Networks as shared libraries: written, and run from their file. Runs in the TVM process."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax
from tvm.target import codegen

from hwnas.tvm_worker.building import compile_module, is_gpu, links_cuda, target_of
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
    code = request.target
    module = fuse(import_onnx(request.model), precision=code.precision)
    kernels = kernels_of(module)
    target = target_of(code)
    untuned = [] if is_gpu(target) else list(kernels)
    if request.database is not None and not (request.twin and is_gpu(target)):
        from hwnas.tvm_worker.tuning.tuner import apply_database

        module, left = apply_database(module, target, Path(request.database))
        untuned = list(left)
    if request.twin:
        module = _without_targets(module)
        code = CodeTarget(cores=code.cores)
        target = target_of(code)
    executable = compile_module(module, target)
    executable.export_library(request.path, fcompile=find_linker(code))
    processor = target.host if is_gpu(target) else target
    return ExportedLibrary(
        str(processor.attrs.get("mcpu", "generic")),
        _triple(processor),
        len(kernels),
        tuple(kernels[name].signature for name in untuned),
        ("machine code" if links_cuda() else "source") if is_gpu(target) else "",
    )


def run_library(
    path: Path, images: npt.NDArray[np.float32], *, batch: int = 1, gpu: bool = False
) -> npt.NDArray[np.float32]:
    """Outputs of a library for each image, `(n, ...)`; it is loaded from its file.

    Args:
        path: The file.
        images: `(n, ...)`.
        batch: How many it takes at a time; the last image fills up what is left.
        gpu: Whether a GPU runs it.
    """
    device = tvm.cuda() if gpu else tvm.cpu()
    main = relax.VirtualMachine(tvm.runtime.load_module(str(path)), device)["main"]
    outputs = []
    for begin in range(0, len(images), batch):
        part = images[begin : begin + batch]
        full = np.concatenate([part, *[part[-1:]] * (batch - len(part))])
        found = main(tvm.runtime.tensor(full, device))
        result = (found if isinstance(found, tvm.runtime.Tensor) else found[0]).numpy()
        outputs.append(result[: len(part)])
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
