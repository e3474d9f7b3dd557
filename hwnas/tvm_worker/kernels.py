"""Kernels of a fused Relax module: what TVM executes as a unit. Runs where TVM runs.

A kernel is a PrimFunc without weight values. Its key is taken from TVM's structural hash, which
does not see names, so that equal work in different networks is one kernel: tuned once, measured
once.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.s_tir.analysis import estimate_tir_flops

__all__ = ["CompilerKernel", "calls_of", "kernel_of", "kernels_of", "module_of"]

_FLOPS_PER_MAC = 2


@dataclass(frozen=True, eq=False)
class CompilerKernel:
    """A PrimFunc with what the cost table says about it.

    Args:
        key: 32 hexadecimal digits, equal in every process.
        signature: Such as `conv2d_add_relu 1x16x8x8 96x16x1x1 1x96x1x1 -> 1x96x8x8`.
        macs: Half of the floating point operations.
        activation_bytes: Arguments that are not weights, and results.
        weight_bytes: Weights.
        function: The PrimFunc.
        arguments: Types of the arguments of its calls, without results.
        is_weight: Which of them are weights.
        results: Type of what a call gives.
    """

    key: str
    signature: str
    macs: int
    activation_bytes: int
    weight_bytes: int
    function: tvm.tirx.PrimFunc
    arguments: tuple[relax.TensorType, ...] = ()
    is_weight: tuple[bool, ...] = ()
    results: relax.Type | None = None

    @property
    def forms(self) -> tuple[tuple[tuple[int, ...], str], ...]:
        """Shape and type of each argument, results included."""
        return tuple(_shape(parameter) for parameter in self.function.params)


def kernel_of(function: tvm.tirx.PrimFunc, name: str = "") -> CompilerKernel:
    """Describe a PrimFunc; without its calls, all that it reads counts as activations.

    Args:
        function: Not scheduled, with static shapes.
        name: Its name in the module, from which the readable part of the signature is made.
    """
    bare = function.without_attr("global_symbol") if _has_symbol(function) else function
    shapes = [_shape(parameter) for parameter in function.params]
    described = f"{tvm_ffi.structural_hash(bare):016x} {shapes}"
    key = hashlib.sha256(described.encode()).hexdigest()[:32]
    sides = ["x".join(map(str, shape)) or "scalar" for shape, _ in shapes]
    sizes = [prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes]
    flops = float(estimate_tir_flops(tvm.IRModule({"main": bare})))
    operators = re.sub(r"\d+(?=_|$)", "", name.removeprefix("fused_")) or "kernel"
    signature = f"{operators} {' '.join(sides[:-1])} -> {sides[-1] if sides else ''}"
    return CompilerKernel(key, signature, round(flops) // _FLOPS_PER_MAC, sum(sizes), 0, function)


def kernels_of(module: tvm.IRModule) -> dict[str, CompilerKernel]:
    """Kernels that `main` calls, by name of the function, with their arguments."""
    found: dict[str, CompilerKernel] = {}
    for call in _calls(module):
        name = call.args[0].name_hint
        if name in found:
            continue
        kernel = kernel_of(module[name], name)
        arguments = list(call.args[1])
        is_weight = tuple(_is_constant(argument) for argument in arguments)
        types = tuple(argument.ty for argument in arguments)
        weights = sum(
            prod(map(int, ty.shape)) * np.dtype(str(ty.dtype)).itemsize
            for ty, constant in zip(types, is_weight, strict=True)
            if constant
        )
        found[name] = replace(
            kernel,
            activation_bytes=kernel.activation_bytes - weights,
            weight_bytes=weights,
            arguments=types,
            is_weight=is_weight,
            results=call.ty_args[0],
        )
    return found


def calls_of(module: tvm.IRModule) -> tuple[str, ...]:
    """Names of the PrimFuncs in the order in which `main` calls them, with repetitions."""
    return tuple(call.args[0].name_hint for call in _calls(module))


def module_of(kernels: Mapping[str, CompilerKernel]) -> tvm.IRModule:
    """A module whose `main` calls each kernel once; weights are constants of zeros.

    Args:
        kernels: From `kernels_of`, by the name that each shall have.
    """
    builder = relax.BlockBuilder()
    inputs: list[relax.Var] = []
    plan: list[tuple[CompilerKernel, tvm.ir.GlobalVar, list[relax.Expr]]] = []
    for name, kernel in kernels.items():
        where = builder.add_func(kernel.function, name)
        arguments: list[relax.Expr] = []
        for ty, constant in zip(kernel.arguments, kernel.is_weight, strict=True):
            if constant:
                arguments.append(relax.const(np.zeros([int(s) for s in ty.shape], str(ty.dtype))))
            else:
                inputs.append(relax.Var(f"x{len(inputs)}", ty))
                arguments.append(inputs[-1])
        plan.append((kernel, where, arguments))
    with builder.function("main", inputs):
        with builder.dataflow():
            results = [
                builder.emit(relax.call_tir(where, arguments, kernel.results))
                for kernel, where, arguments in plan
            ]
            output = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(output)
    return builder.get()


def _calls(module: tvm.IRModule) -> Iterable[relax.Call]:
    """Calls of `call_tir` in the order of `main`; a reshape is none, it becomes a view."""
    operator = tvm.ir.Op.get("relax.call_tir")
    views = {
        name.name_hint
        for name, function in module.functions_items()
        if isinstance(function, tvm.tirx.PrimFunc) and relax.analysis.has_reshape_pattern(function)
    }
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            value = binding.value
            called = isinstance(value, relax.Call) and value.op == operator
            if called and value.args[0].name_hint not in views:
                yield value


def _is_constant(argument: relax.Expr) -> bool:
    return isinstance(argument, tvm.ir.Constant)


def _has_symbol(function: tvm.tirx.PrimFunc) -> bool:
    return function.attrs is not None and "global_symbol" in function.attrs


def _shape(parameter: tvm.tirx.Var) -> tuple[tuple[int, ...], str]:
    ty = parameter.ty
    return tuple(int(side) for side in ty.shape), str(ty.dtype)
