"""Networks compiled together: kernels that they share are compiled once. Runs where TVM runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from hwnas.tvm_worker.building import compile_module, run_device
from hwnas.tvm_worker.kernels import CompilerKernel, calls_of, kernel_of, kernels_of, module_of
from hwnas.tvm_worker.timing import Form, LoadedNetwork

__all__ = ["CompiledNetwork", "build_networks", "compile_networks", "untuned_kernels"]

_PREFIX = "kernel_"


@dataclass(frozen=True)
class CompiledNetwork:
    """A network as a function of an executable that it shares with others.

    Args:
        function: Its name there.
        inputs: Shape and type of each input.
        kernels: Keys of its kernels in the order of its calls.
        weight_bytes: Of its kernels.
        arguments: Shape and type of each argument of each kernel, by the kernel's name there.
    """

    function: str
    inputs: tuple[Form, ...]
    kernels: tuple[str, ...]
    weight_bytes: int
    arguments: Mapping[str, Sequence[Form]]


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
    """Compile fused modules for this machine and load them; arguments as of `compile_networks`."""
    executable, compiled = compile_networks(modules, target, database)
    return {
        name: LoadedNetwork(
            executable,
            network.inputs,
            network.kernels,
            tuple(f"{_PREFIX}{key}" for key in network.kernels),
            network.function,
            run_device(target),
            network.arguments,
        )
        for name, network in compiled.items()
    }


def compile_networks(
    modules: Mapping[str, tvm.IRModule], target: tvm.target.Target, database: Path | None
) -> tuple[relax.VMExecutable, dict[str, CompiledNetwork]]:
    """Compile fused modules as functions of one executable.

    Args:
        modules: By any name.
        target: What for.
        database: Folder of tuning records, one for every kernel; None builds naive code, or for a
            GPU that of default schedules.
    """
    scheduled = _named(_distinct(modules))
    functions = {name: kernel.function for name, kernel in scheduled.items()}
    if database is not None and scheduled:
        from hwnas.tvm_worker.tuning.tuner import apply_database

        tuned, _ = apply_database(module_of(scheduled), target, database)
        functions = {name: tuned[name] for name in scheduled}
    builder = relax.BlockBuilder()
    places = {name: builder.add_func(function, name) for name, function in functions.items()}
    compiled = {}
    for number, (name, module) in enumerate(modules.items()):
        renamed = {}
        for where, function in module.functions_items():
            if isinstance(function, tvm.tirx.PrimFunc):
                kernel = f"{_PREFIX}{kernel_of(function).key}"
                if kernel not in places:  # a view, which is no kernel
                    places[kernel] = builder.add_func(function, kernel)
                renamed[where.name_hint] = places[kernel]
        entry = f"main_{number}"
        main = _Renamer(renamed).visit_expr(module["main"])
        builder.add_func(main.with_attr("global_symbol", entry), entry)
        compiled[name] = _described(module, entry)
    return compile_module(builder.get(), target), compiled


def _described(module: tvm.IRModule, function: str) -> CompiledNetwork:
    named = kernels_of(module)
    calls = calls_of(module)
    inputs = tuple(
        (tuple(int(side) for side in value.ty.shape), str(value.ty.dtype))
        for value in module["main"].params
    )
    weights = sum(named[call].weight_bytes for call in calls)
    arguments = {f"{_PREFIX}{kernel.key}": kernel.forms for kernel in named.values()}
    keys = tuple(named[call].key for call in calls)
    return CompiledNetwork(function, inputs, keys, weights, arguments)


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
