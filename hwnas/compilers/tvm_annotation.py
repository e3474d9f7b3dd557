"""Predicted costs as attributes of TVM's functions. Runs in a user's TVM.

Every PrimFunc gets the attributes of `KERNEL`, `LATENCY`, `ENERGY` and of where the two numbers
come from; `main` gets their sums, but only if none is missing.
"""

from hwnas.compilers import tvm_required  # noqa: F401

# isort: split
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import tvm
from tvm import relax

from hwnas.costs import (
    Cost,
    CostTable,
    Provenance,
    Source,
    modelled_energy_j,
)
from hwnas.errors import LoweringError
from hwnas.graph import GraphCounts, Kernel
from hwnas.targets import Target
from hwnas.tvm_worker import tvm_runtime
from hwnas.tvm_worker.kernels import CompilerKernel, calls_of, kernel_of, kernels_of

__all__ = [
    "ENERGY",
    "ENERGY_PROVENANCE",
    "KERNEL",
    "LATENCY",
    "MISSING",
    "PROVENANCE",
    "TUNED",
    "UNKNOWN",
    "VIEW",
    "AnnotateCosts",
    "describe_kernels",
    "untuned_functions",
]

KERNEL = "hwnas.kernel"
"""Key of the kernel: of the function before it is scheduled."""
_SIGNATURE = "hwnas.signature"
_COUNTS = ("macs", "activation_bytes", "weight_bytes")
LATENCY = "hwnas.latency_s"
PROVENANCE = "hwnas.provenance"
"""Where the latency comes from, or `UNKNOWN`."""
ENERGY = "hwnas.energy_j"
ENERGY_PROVENANCE = "hwnas.energy_provenance"
TUNED = "hwnas.tuned"
"""1 if it is scheduled by a tuning record, else 0."""
MISSING = "hwnas.missing"
"""Of `main`: names of what it calls without known latency, sorted, separated by blanks."""
UNKNOWN = "unknown"
VIEW = "view"
"""Provenance of a reshape, which becomes a view and takes no time."""

_WEAKEST_FIRST: tuple[Provenance, ...] = ("simulated", "modelled", "published", "measured")
_SCHEDULED = ("tirx.is_scheduled", "tir.is_scheduled")


@dataclass(frozen=True)
class _Known:
    """Value and provenance of one metric; None where nothing is known."""

    value: float | None
    provenance: str


@tvm.transform.module_pass(opt_level=0, name="hwnas.AnnotateCosts")
class AnnotateCosts:
    """Pass that writes predicted costs into functions.

    Latency is the table's, never a guess. Energy is the table's where it has a row, else it is
    counted operations and bytes times the target's constants, with provenance `modelled`.

    Kernels are recognised before they are scheduled: run the pass on fused functions, or, where a
    database is applied first, give what `describe_kernels` found before. Annotated functions that
    are tuned keep their keys when the pass runs again.

    Args:
        table: Where costs are looked up.
        target: Whose costs.
        kernels: By name of the function; by default found in the module.
        tuned: Names of functions that are scheduled by a tuning record, beside those that say so.
    """

    def __init__(
        self,
        table: CostTable | None,
        target: Target,
        kernels: Mapping[str, Kernel] | None = None,
        tuned: Collection[str] = (),
    ) -> None:
        self._table = table
        self._target = target
        self._kernels = kernels
        self._tuned = frozenset(tuned)

    def transform_module(
        self,
        module: tvm.IRModule,
        context: tvm.transform.PassContext,  # noqa: ARG002 (the contract gives it)
    ) -> tvm.IRModule:
        """The pass."""
        kernels = describe_kernels(module) if self._kernels is None else self._kernels
        latency, energy = self._rows("latency_s"), self._rows("energy_j")
        for where, function in module.functions_items():
            if isinstance(function, tvm.tirx.PrimFunc):
                if relax.analysis.has_reshape_pattern(function):
                    module.update_func(where, _bare(function).with_attr(PROVENANCE, VIEW))
                    continue
                kernel = kernels.get(where.name_hint)
                known = {LATENCY: _looked_up(kernel, latency)}
                known[ENERGY] = _looked_up(kernel, energy)
                if kernel is not None and known[ENERGY].value is None:
                    known[ENERGY] = _Known(self._modelled(kernel), "modelled")
                is_tuned = where.name_hint in self._tuned or _is_scheduled(function)
                module.update_func(where, _annotated(function, kernel, known, is_tuned))
        if "main" in [where.name_hint for where in module.get_global_vars()]:
            module.update_func(module.get_global_var("main"), _summed(module))
        return module

    def _rows(self, metric: str) -> Mapping[str, Cost]:
        if self._table is None:
            return {}
        return self._table.lookup(Source(self._target.fingerprint, tvm_runtime()), metric)

    def _modelled(self, kernel: Kernel) -> float:
        counts = GraphCounts(kernel.macs, 0, kernel.activation_bytes, kernel.weight_bytes, 1)
        return modelled_energy_j(counts, self._target.energy)


def describe_kernels(module: tvm.IRModule) -> dict[str, Kernel]:
    """Kernels of a fused module by name of the function.

    Reshapes, which become views, are left out, and so are functions without static shapes and
    scheduled ones that carry no annotation, because the key is that before the schedule.
    """
    bare = tvm.IRModule(dict(module.functions))
    found: dict[str, Kernel] = {}
    unscheduled = []
    for where, function in module.functions_items():
        if isinstance(function, tvm.tirx.PrimFunc) and _is_scheduled(function):
            if KERNEL in function.attrs:
                found[where.name_hint] = _from_attributes(function)
            continue
        function = _bare(function)
        bare.update_func(where, function)
        is_kernel = isinstance(function, tvm.tirx.PrimFunc)
        if is_kernel and not relax.analysis.has_reshape_pattern(function):
            unscheduled.append((where.name_hint, function))
    called = _called_kernels(bare)
    for name, function in unscheduled:
        try:
            kernel = called[name] if name in called else kernel_of(function, name)
        except (TypeError, ValueError):  # a size that is a symbol
            continue
        found[name] = Kernel(
            kernel.key, kernel.signature, kernel.macs, kernel.activation_bytes, kernel.weight_bytes
        )
    return found


def untuned_functions(module: tvm.IRModule) -> tuple[str, ...]:
    """Names of kernels without a tuning record, sorted."""
    return tuple(
        sorted(
            name
            for name in describe_kernels(module)
            if not int(dict(module[name].attrs or {}).get(TUNED, 0))
        )
    )


def _called_kernels(module: tvm.IRModule) -> dict[str, CompilerKernel]:
    """Kernels that `main` calls, which tells weights from activations."""
    if "main" not in [where.name_hint for where in module.get_global_vars()]:
        return {}
    try:
        return kernels_of(module)
    except (TypeError, ValueError):  # a size that is a symbol: functions are taken one by one
        return {}


def _from_attributes(function: tvm.tirx.PrimFunc) -> Kernel:
    attributes = function.attrs
    counts = [int(attributes[f"hwnas.{name}"]) for name in _COUNTS]
    return Kernel(str(attributes[KERNEL]), str(attributes[_SIGNATURE]), *counts)


def _bare(function: tvm.ir.BaseFunc) -> tvm.ir.BaseFunc:
    """The function without attributes of ours, so that its key is what it was."""
    for name in dict(function.attrs or {}):
        if name.startswith("hwnas."):
            function = function.without_attr(name)
    return function


def _is_scheduled(function: tvm.ir.BaseFunc) -> bool:
    attributes = dict(function.attrs or {})
    return bool(attributes.get(TUNED)) or any(name in attributes for name in _SCHEDULED)


def _looked_up(kernel: Kernel | None, rows: Mapping[str, Cost]) -> _Known:
    row = rows.get(kernel.key) if kernel is not None else None
    return _Known(None, UNKNOWN) if row is None else _Known(row.value, row.provenance)


def _annotated(
    function: tvm.tirx.PrimFunc,
    kernel: Kernel | None,
    known: Mapping[str, _Known],
    is_tuned: bool,
) -> tvm.tirx.PrimFunc:
    function = _bare(function)
    if kernel is not None:
        function = function.with_attr(KERNEL, kernel.key).with_attr(_SIGNATURE, kernel.signature)
        for name in _COUNTS:
            function = function.with_attr(f"hwnas.{name}", getattr(kernel, name))
    return _with_costs(function.with_attr(TUNED, int(is_tuned)), known)


def _with_costs(function: tvm.ir.BaseFunc, known: Mapping[str, _Known]) -> tvm.ir.BaseFunc:
    for name, origin in ((LATENCY, PROVENANCE), (ENERGY, ENERGY_PROVENANCE)):
        found = known[name]
        function = function.with_attr(origin, found.provenance)
        if found.value is not None:
            function = function.with_attr(name, found.value)
    return function


def _summed(module: tvm.IRModule) -> relax.Function:
    """`main` with the sums over its calls, or with the names of those that have no latency."""
    main = _bare(module["main"])
    others = _other_calls(main)
    called = calls_of(module)
    costs = {name: _read(module[name]) for name in called}
    missing = sorted({n for n, cost in costs.items() if cost[LATENCY].value is None} | others)
    known = {}
    for metric in (LATENCY, ENERGY):
        parts = [costs[name][metric] for name in called]
        if not parts or others or any(part.value is None for part in parts):
            known[metric] = _Known(None, UNKNOWN)
            continue
        present = {part.provenance for part in parts}
        weakest = next(each for each in _WEAKEST_FIRST if each in present)
        known[metric] = _Known(sum(part.value or 0.0 for part in parts), weakest)
    if missing:
        main = main.with_attr(MISSING, " ".join(missing))
    return _with_costs(main, known)


def _read(function: tvm.ir.BaseFunc) -> dict[str, _Known]:
    attributes = function.attrs
    found = {}
    for name, origin in ((LATENCY, PROVENANCE), (ENERGY, ENERGY_PROVENANCE)):
        value = float(attributes[name]) if name in attributes else None
        found[name] = _Known(value, str(attributes[origin]))
    return found


def _other_calls(main: relax.Function) -> set[str]:
    """Operators in a function that are no PrimFunc.

    Raises:
        LoweringError: The body is no sequence of bindings.
    """
    operator = tvm.ir.Op.get("relax.call_tir")
    if not isinstance(main.body, relax.SeqExpr):
        raise LoweringError("`main` is not in normal form: run relax.transform.Normalize first")
    values = [binding.value for block in main.body.blocks for binding in block.bindings]
    return {
        str(getattr(value.op, "name", value.op))
        for value in values
        if isinstance(value, relax.Call) and value.op != operator
    }
