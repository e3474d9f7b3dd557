"""Networks compiled together: kernels that they share are compiled once. Runs where TVM runs."""

from collections.abc import Mapping
from pathlib import Path

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from hwnas.tvm_worker.building import compile_module
from hwnas.tvm_worker.kernels import CompilerKernel, calls_of, kernel_of, kernels_of, module_of
from hwnas.tvm_worker.timing import LoadedNetwork

__all__ = ["build_networks", "untuned_kernels"]


def untuned_kernels(
    modules: Mapping[str, tvm.IRModule], target: tvm.target.Target, database: Path
) -> dict[str, CompilerKernel]:
    """Kernels of fused modules that have no tuning record, by key."""
    from hwnas.tvm_worker.tuning.tuner import apply_database

    kernels = _distinct(modules)
    if not kernels:
        return {}
    _, left = apply_database(module_of(_named(kernels)), target, database)
    return {key: kernels[key] for key in (name.removeprefix(_PREFIX) for name in left)}


def build_networks(
    modules: Mapping[str, tvm.IRModule], target: tvm.target.Target, database: Path | None
) -> dict[str, LoadedNetwork]:
    """Compile fused modules as functions of one executable.

    Args:
        modules: By any name.
        target: This machine.
        database: Folder of tuning records, one for every kernel; None builds naive code.
    """
    scheduled = _named(_distinct(modules))
    functions = {name: kernel.function for name, kernel in scheduled.items()}
    if database is not None and scheduled:
        from hwnas.tvm_worker.tuning.tuner import apply_database

        tuned, _ = apply_database(module_of(scheduled), target, database)
        functions = {name: tuned[name] for name in scheduled}
    builder = relax.BlockBuilder()
    places = {name: builder.add_func(function, name) for name, function in functions.items()}
    mains = {}
    for number, (name, module) in enumerate(modules.items()):
        renamed = {}
        for where, function in module.functions_items():
            if isinstance(function, tvm.tirx.PrimFunc):
                kernel = f"{_PREFIX}{kernel_of(function).key}"
                if kernel not in places:  # a view, which is no kernel
                    places[kernel] = builder.add_func(function, kernel)
                renamed[where.name_hint] = places[kernel]
        mains[name] = f"main_{number}"
        main = _Renamer(renamed).visit_expr(module["main"])
        builder.add_func(main.with_attr("global_symbol", mains[name]), mains[name])
    executable = compile_module(builder.get(), target)
    found = {}
    for name, module in modules.items():
        named = kernels_of(module)
        keys = tuple(named[call].key for call in calls_of(module))
        inputs = [
            (tuple(int(side) for side in v.ty.shape), str(v.ty.dtype))
            for v in module["main"].params
        ]
        found[name] = LoadedNetwork(executable, inputs, keys, mains[name])
    return found


_PREFIX = "kernel_"


def _distinct(modules: Mapping[str, tvm.IRModule]) -> dict[str, CompilerKernel]:
    return {
        kernel.key: kernel for module in modules.values() for kernel in kernels_of(module).values()
    }


def _named(kernels: Mapping[str, CompilerKernel]) -> dict[str, CompilerKernel]:
    return {f"{_PREFIX}{key}": kernel for key, kernel in kernels.items()}


@mutator
class _Renamer(PyExprMutator):  # type: ignore[misc]  # TVM is untyped
    """Calls other functions in place of those of the same name."""

    def __init__(self, functions: Mapping[str, tvm.ir.GlobalVar]) -> None:
        super().__init__()
        self._functions = functions

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.call_tir":
            return call
        called = self._functions[call.args[0].name_hint]
        return relax.Call(call.op, [called, *call.args[1:]], call.attrs, call.ty_args)
