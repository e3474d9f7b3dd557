"""Fused Relax modules to code that runs. Runs in the TVM process."""

import os
import shutil
import sys
from importlib.util import find_spec

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.backend.cuda.pipeline import dataflow_lower_passes, finalize_passes
from tvm.target import codegen

from hwnas.errors import TargetError
from hwnas.tvm_worker.gpu_schedules import schedule_for_gpu
from hwnas.tvm_worker.messages import CodeTarget

__all__ = [
    "compile_module",
    "cuda_compiler",
    "is_gpu",
    "links_cuda",
    "llvm_target",
    "run_device",
    "target_of",
]

_COMPILER_VARIABLE = "TVM_CUDA_COMPILE_MODE"
_CUDA_LIMITS = {  # CUDA C++ programming guide, technical specifications per compute capability
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,  # bytes that a kernel may declare
    "thread_warp_size": 32,
}


def target_of(code: CodeTarget) -> tvm.target.Target:
    """TVM's form of a target: of a GPU if there is one, with its processor as the host.

    Raises:
        TargetError: LLVM does not know the processor or an attribute.
    """
    host = llvm_target(code)
    if not code.cuda:
        return host
    return tvm.target.Target({"kind": "cuda", "arch": code.cuda, **_CUDA_LIMITS}, host=host)


def llvm_target(code: CodeTarget) -> tvm.target.Target:
    """TVM's form of a processor.

    Raises:
        TargetError: LLVM does not know the processor or an attribute.
    """
    here = code.cpu == "host"
    kind: dict[str, object] = {"kind": "llvm", "num-cores": code.cores}
    kind["mcpu"] = str(codegen.llvm_get_system_cpu()) if here else code.cpu
    if code.triple:
        kind["mtriple"] = code.triple
    if code.features:
        kind["mattr"] = list(code.features)
    triple = code.triple or str(codegen.llvm_get_system_triple())
    if not codegen.llvm_is_valid_cpu(kind["mcpu"], triple):  # LLVM would go on with a generic one
        raise TargetError(
            f"LLVM knows no processor {code.cpu!r} for {triple!r}: correct cpu in the device file"
        )
    try:
        return tvm.target.Target(kind)
    except (ValueError, RuntimeError, tvm.error.InternalError) as error:
        raise TargetError(f"TVM refuses the target {kind}: {error}") from error


def is_gpu(target: tvm.target.Target) -> bool:
    """Whether kernels run on a GPU."""
    return str(target.kind.name) == "cuda"


def run_device(target: tvm.target.Target) -> tvm.runtime.Device:
    """Where code for a target runs on this machine."""
    return tvm.cuda() if is_gpu(target) else tvm.cpu()


def compile_module(module: tvm.IRModule, target: tvm.target.Target) -> relax.VMExecutable:
    """An executable of a fused module, whether its functions are scheduled or not.

    Raises:
        LoweringError: A function cannot be scheduled for a GPU.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10_000))  # deep networks in TVM's visitors
    if not is_gpu(target):
        return tvm.compile(module, target=target)
    os.environ.setdefault(_COMPILER_VARIABLE, cuda_compiler() or "nvrtc")
    with target:  # where a GPU's code is compiled at once, the compiler asks for its architecture
        # TVM's own pipeline fuses once more, also what is scheduled.
        module = schedule_for_gpu(relax.transform.RewriteDataflowReshape()(module), target)
        passes = [*dataflow_lower_passes(target), *finalize_passes(target)]
        pipeline = tvm.transform.Sequential(passes)
        return tvm.compile(module, target=target, relax_pipeline=pipeline)


def cuda_compiler() -> str:
    """What makes machine code of CUDA here, `nvrtc` or `nvcc`; empty if nothing does.

    NVRTC is installed with torch in many places, but without the headers that TVM's code wants;
    they come with nvcc.
    """
    named = os.environ.get(_COMPILER_VARIABLE)
    if named or shutil.which("nvcc"):
        return named or "nvcc"
    # A parent package that is missing would make `find_spec` raise.
    found = find_spec("cuda") is not None and find_spec("cuda.bindings") is not None
    return "nvrtc" if found else ""


def links_cuda() -> bool:
    """Whether CUDA's runtime is here, so that kernels become machine code when they are built."""
    return tvm_ffi.get_global_func("ffi.Module.create.cuda", allow_missing=True) is not None
