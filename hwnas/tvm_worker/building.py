"""Fused Relax modules to code that runs. Runs in the TVM process."""

import sys

import tvm
from tvm import relax
from tvm.target import codegen

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


def compile_module(module: tvm.IRModule, target: tvm.target.Target) -> relax.VMExecutable:
    """An executable of a fused module, whether its functions are scheduled or not."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10_000))  # deep networks in TVM's visitors
    return tvm.compile(module, target=target)
