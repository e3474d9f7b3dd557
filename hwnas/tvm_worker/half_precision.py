"""Sixteen-bit weights and activations: a Relax module in another precision. Runs where TVM runs.

Everything between operators is of the type, and sums are added up in float32, as cuDNN does and
tensor cores can: TVM would add them up in the type itself. Its own ToMixedPrecision
knows float16 alone, and keeps in float32 what operators of its list give.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import tvm
from tvm import relax, topi

from hwnas.errors import LoweringError
from hwnas.tvm_worker.channels_last import plain
from hwnas.tvm_worker.messages import FloatPrecision

__all__ = ["HalfPrecision"]

_SINGLE = "float32"
_TYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
_WINDOW = (
    "strides",
    "padding",
    "dilation",
    "groups",
    "data_layout",
    "kernel_layout",
    "out_layout",
)
_SUMS: dict[str, tuple[Callable[..., relax.Expr], tuple[str, ...]]] = {
    "relax.matmul": (relax.op.matmul, ()),
    "relax.nn.conv1d": (relax.op.nn.conv1d, _WINDOW),
    "relax.nn.conv2d": (relax.op.nn.conv2d, _WINDOW),
    "relax.nn.conv2d_transpose": (relax.op.nn.conv2d_transpose, (*_WINDOW, "output_padding")),
}
_WIDE = {
    "relax.nn.adaptive_avg_pool2d",
    "relax.nn.avg_pool2d",
    "relax.nn.layer_norm",
    "relax.nn.softmax",
    "relax.variance",
}


@tvm.transform.module_pass(opt_level=0, name="hwnas.HalfPrecision")
class HalfPrecision:
    """Compute in a type of 16 bits.

    To be run before legalisation, when operators are plain calls.

    Args:
        precision: The type; float32 changes nothing.
        borders: Whether inputs and outputs of `main` are of the type too; otherwise they stay
            float32.
    """

    def __init__(self, precision: FloatPrecision, *, borders: bool = False) -> None:
        self._precision = precision
        self._borders = borders

    def transform_module(
        self,
        module: tvm.IRModule,
        context: tvm.transform.PassContext,  # noqa: ARG002 (the contract gives it)
    ) -> tvm.IRModule:
        """The pass.

        Raises:
            LoweringError: `main` holds more than plain bindings, or a function that has its own
                types.
        """
        if self._precision == _SINGLE:
            return module
        return _Rewriter(module, self._precision, self._borders).rewrite()


class _Rewriter:
    """One rewriting of `main`: what each old variable became."""

    def __init__(self, module: tvm.IRModule, precision: str, borders: bool) -> None:
        self._main = module["main"]
        self._module = module
        self._type = precision
        self._borders = borders
        self._builder = relax.BlockBuilder(module)
        self._made: dict[relax.Var, relax.Expr] = {}

    def rewrite(self) -> tvm.IRModule:
        """The module with `main` rewritten."""
        main, builder = self._main, self._builder
        parameters = [self._parameter(each) for each in main.params]
        with builder.function("main_half", parameters):
            with builder.dataflow():
                for old, new in zip(main.params, parameters, strict=True):
                    self._made[old] = builder.emit(self._half(new)) if _is_single(new) else new
                for block in main.body.blocks:
                    for binding in block.bindings:
                        if not isinstance(binding, relax.VarBinding):
                            raise _refusal(self._type, "a shape that is known at run time only")
                        self._made[binding.var] = builder.emit(self._rewritten(binding.value))
                given = self._rewritten(main.body.body)
                output = builder.emit_output(given if self._borders else self._single(given))
            builder.emit_func_output(output)
        made = builder.get()
        function = made["main_half"].with_attrs(
            {**dict(main.attrs or {}), "global_symbol": "main"}
        )
        del made["main_half"]
        made["main"] = function
        return made

    def _parameter(self, parameter: relax.Var) -> relax.Var:
        if not (self._borders and _is_single(parameter)):
            return parameter
        return relax.Var(parameter.name, relax.TensorType(parameter.ty.shape, self._type))

    def _rewritten(self, value: relax.Expr) -> relax.Expr:
        if isinstance(value, relax.Var):
            return self._made[value]
        if isinstance(value, tvm.ir.Constant):
            return self._constant(value)
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self._rewritten(part) for part in value])
        if isinstance(value, relax.TupleGetItem):
            return relax.TupleGetItem(self._rewritten(value.tuple_value), value.index)
        if not isinstance(value, relax.Call):
            return value
        name = getattr(value.op, "name", "")
        if name.startswith("relax.call_"):
            raise _refusal(self._type, f"a function of its own, {value.args[0].name_hint!r}")
        arguments = [self._rewritten(argument) for argument in value.args]
        if name in _SUMS:
            return self._sum(name, arguments, value.attrs)
        if name in ("relax.mean", "relax.sum") and self._is_half(arguments[0]):
            return self._total(name, arguments[0], value.attrs)
        if name in _WIDE:
            wide = [self._single(each) if self._is_half(each) else each for each in arguments]
            return self._half(self._builder.emit(relax.Call(value.op, wide, value.attrs)))
        if name == "relax.astype" and str(value.attrs.dtype) == _SINGLE:
            return self._half(arguments[0])
        return relax.Call(value.op, arguments, value.attrs, value.ty_args)

    def _sum(self, name: str, arguments: list[relax.Expr], attributes: Any) -> relax.Expr:
        """Sums of products in float32, rounded once."""
        make, names = _SUMS[name]
        given = {each: plain(getattr(attributes, each)) for each in names}
        wide = self._builder.emit(make(*arguments, **given, out_dtype=_SINGLE))
        return self._half(wide)

    def _total(self, name: str, x: relax.Expr, attributes: Any) -> relax.Expr:
        """A sum or mean in float32 as one function: FuseOps would leave the cast a kernel."""
        rank, axis = int(x.ty.ndim), plain(attributes.axis)
        axes = [a % rank for a in (range(rank) if axis is None else axis)]
        count = prod(int(x.ty.shape[a]) for a in axes) if name == "relax.mean" else 1

        def total(values: Any) -> Any:
            wide = topi.cast(values, _SINGLE)
            found = topi.sum(wide, axis=axes, keepdims=bool(attributes.keepdims))
            return topi.cast(found * tvm.tirx.const(1.0 / count, _SINGLE), self._type)

        return self._builder.call_te(total, x, primfunc_name_hint=name.removeprefix("relax."))

    def _constant(self, constant: tvm.ir.Constant) -> relax.Expr:
        if not _is_single(constant):
            return constant
        numbers = constant.value.numpy()
        with np.errstate(over="ignore"):
            halves = numbers.astype(_TYPES[self._type])
        if not np.array_equal(np.isfinite(numbers), np.isfinite(halves)):
            raise _refusal(self._type, f"{np.abs(numbers).max():g}, which is beyond its range")
        return relax.const(halves)

    def _half(self, value: relax.Expr) -> relax.Expr:
        return relax.op.astype(value, self._type)

    def _single(self, value: relax.Expr) -> relax.Expr:
        """The value in float32, each part of a tuple."""
        value = value if isinstance(value, relax.Var) else self._builder.emit(value)
        if isinstance(value.ty, relax.TensorType):
            return relax.op.astype(value, _SINGLE) if self._is_half(value) else value
        parts = [relax.TupleGetItem(value, number) for number in range(len(value.ty.fields))]
        return relax.Tuple([self._builder.emit(self._single(part)) for part in parts])

    def _is_half(self, value: relax.Expr) -> bool:
        return isinstance(value.ty, relax.TensorType) and str(value.ty.dtype) == self._type


def _is_single(value: relax.Expr) -> bool:
    return isinstance(value.ty, relax.TensorType) and str(value.ty.dtype) == _SINGLE


def _refusal(precision: str, what: str) -> LoweringError:
    return LoweringError(
        f"TVM cannot compute in {precision}: the network holds {what}; --dtype fp32"
    )
