"""Fused Relax modules to code that runs. Runs in the TVM process."""

import sys

import tvm
from tvm import relax

from hwnas.errors import TargetError
from hwnas.tvm_worker.messages import CodeTarget

__all__ = ["compile_module", "llvm_target"]


def llvm_target(code: CodeTarget) -> tvm.target.Target:
    """TVM's form of a target.

    Raises:
        TargetError: LLVM does not know the processor or an attribute.
    """
    here = code.cpu == "host"
    kind: dict[str, object] = {"kind": "llvm", "num-cores": code.cores}
    kind["mcpu"] = tvm.target.codegen.llvm_get_system_cpu() if here else code.cpu
    if code.triple:
        kind["mtriple"] = code.triple
    if code.features:
        kind["mattr"] = list(code.features)
    try:
        return tvm.target.Target(kind)
    except (ValueError, RuntimeError, tvm.error.InternalError) as error:
        raise TargetError(f"TVM refuses the target {kind}: {error}") from error


def compile_module(module: tvm.IRModule, target: tvm.target.Target) -> relax.VMExecutable:
    """An executable of a fused module, whether its functions are scheduled or not."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10_000))  # deep networks in TVM's visitors
    return tvm.compile(module, target=target)
