"""Channels last: a Relax module whose maps are NHWC wherever operators allow. Runs where TVM runs.

Networks come as NCHW. With channels innermost, vectors run over channels, whose number is nearly
always a multiple of a vector's length, while the width of a late map (14 or 7) hardly ever is. A
convolution with a 1x1 kernel is then a matrix product of maps as they lie in memory.

TVM's own ConvertLayout stops at operators with a scalar, and after every convolution of a
MobileNet comes one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

__all__ = ["ChannelsLast", "plain"]

_TO_LAST = [0, 2, 3, 1]
_TO_FIRST = [0, 3, 1, 2]
_SPATIAL = ([2, 3], [-2, -1])
_FILTER = {"data_layout": "NHWC", "kernel_layout": "HWIO", "out_layout": "NHWC"}
_UNARY = {
    f"relax.{name}"
    for name in (
        "abs",
        "clip",
        "erf",
        "exp",
        "negative",
        "nn.gelu",
        "nn.gelu_tanh",
        "nn.leakyrelu",
        "nn.relu",
        "nn.silu",
        "nn.softplus",
        "sigmoid",
        "sqrt",
        "tanh",
    )
}
_BINARY = {
    f"relax.{name}"
    for name in ("add", "divide", "maximum", "minimum", "multiply", "power", "subtract")
}
_POOLS: dict[str, tuple[Callable[..., relax.Expr], tuple[str, ...]]] = {
    "relax.nn.max_pool2d": (
        relax.op.nn.max_pool2d,
        ("pool_size", "strides", "padding", "dilation", "ceil_mode", "count_include_pad"),
    ),
    "relax.nn.avg_pool2d": (
        relax.op.nn.avg_pool2d,
        ("pool_size", "strides", "padding", "dilation", "ceil_mode", "count_include_pad"),
    ),
    "relax.nn.adaptive_avg_pool2d": (relax.op.nn.adaptive_avg_pool2d, ("output_size",)),
}
_REDUCTIONS = {
    "relax.mean": relax.op.mean,
    "relax.sum": relax.op.sum,
    "relax.max": relax.op.max,
}


@tvm.transform.module_pass(opt_level=0, name="hwnas.ChannelsLast")
class ChannelsLast:
    """Compute 4-dimensional values as NHWC.

    Operators that are not known here get NCHW. To be run after constants are folded and before
    legalisation. A `main` with anything but plain bindings stays as it is.

    Args:
        borders: Whether inputs and outputs of `main` become NHWC too; otherwise they keep their
            layout.
    """

    def __init__(self, *, borders: bool = False) -> None:
        self._borders = borders

    def transform_module(
        self,
        module: tvm.IRModule,
        context: tvm.transform.PassContext,  # noqa: ARG002 (the contract gives it)
    ) -> tvm.IRModule:
        """The pass."""
        main = module["main"]
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        if not all(isinstance(binding, relax.VarBinding) for binding in bindings):
            return module
        return _Rewriter(module, self._borders).rewrite(main, bindings)


class _Rewriter:
    """One rewriting of `main`: what each old variable is in either layout."""

    def __init__(self, module: tvm.IRModule, borders: bool) -> None:
        self._module = module
        self._borders = borders
        self._builder = relax.BlockBuilder(module)
        self._first: dict[relax.Var, relax.Expr] = {}
        self._last: dict[relax.Var, relax.Expr] = {}

    def rewrite(self, main: relax.Function, bindings: list[relax.VarBinding]) -> tvm.IRModule:
        """The module with `main` rewritten."""
        turned = {p: _turned(p) for p in main.params if self._borders and _rank(p) == 4}
        self._last = dict(turned)
        self._first = {p: p for p in main.params if p not in turned}
        with self._builder.function("main_last", [turned.get(p, p) for p in main.params]):
            with self._builder.dataflow():
                for binding in bindings:
                    self._bind(binding.var, binding.value)
                result = main.body.body
                kept = self._borders and result in self._last
                given = self._last[result] if kept else self._channels_first(result)
                output = self._builder.emit_output(given)
            self._builder.emit_func_output(output)
        made = self._builder.get()
        function = made["main_last"].with_attrs(
            {**dict(main.attrs or {}), "global_symbol": "main"}
        )
        del made["main_last"]
        made["main"] = function
        return relax.transform.DeadCodeElimination()(made)

    def _bind(self, variable: relax.Var, value: relax.Expr) -> None:
        if isinstance(value, relax.Var) and value in self._last:
            self._last[variable] = self._last[value]
            return
        made = self._as_last(variable, value) if isinstance(value, relax.Call) else None
        if made is not None:
            self._last[variable] = self._builder.emit(made)
            return
        if isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.reshape":
            source = self._last.get(value.args[0])
            if source is not None and _is_point(source):
                self._first[variable] = self._builder.emit(relax.op.reshape(source, value.args[1]))
                return
        self._first[variable] = self._builder.emit(self._channels_first(value))

    def _as_last(self, variable: relax.Var, call: relax.Call) -> relax.Expr | None:
        """The call on NHWC values, None if it is to stay on NCHW."""
        name, arguments = getattr(call.op, "name", ""), list(call.args)
        if name == "relax.nn.conv2d":
            return self._convolution(call)
        if name in _BINARY and _rank(variable) == 4:
            return self._binary(name, arguments)
        if name == "relax.concat" and int(call.attrs.axis) == 1:
            parts = list(arguments[0]) if isinstance(arguments[0], relax.Tuple) else []
            if any(part in self._last for part in parts):
                return relax.op.concat([self._channels_last(part) for part in parts], axis=3)
        if not arguments or arguments[0] not in self._last:
            return None
        x, attributes = self._last[arguments[0]], call.attrs
        if name in _UNARY:
            return relax.Call(call.op, [x, *arguments[1:]], attributes)
        if name in _POOLS and attributes.layout == attributes.out_layout == "NCHW":
            pool, names = _POOLS[name]
            return pool(
                x, **{each: plain(getattr(attributes, each)) for each in names}, layout="NHWC"
            )
        if name in _REDUCTIONS and attributes.keepdims and plain(attributes.axis) in _SPATIAL:
            return _REDUCTIONS[name](x, [1, 2], keepdims=True)
        return None

    def _convolution(self, call: relax.Call) -> relax.Expr | None:
        attributes, (data, weight) = call.attrs, call.args
        if (attributes.data_layout, attributes.kernel_layout) != ("NCHW", "OIHW"):
            return None
        if isinstance(weight, tvm.ir.Constant):
            values = weight.value.numpy().transpose(2, 3, 1, 0)
            filters: relax.Expr = relax.const(np.ascontiguousarray(values))
        else:
            filters = relax.op.permute_dims(self._channels_first(weight), [2, 3, 1, 0])
        return relax.op.nn.conv2d(
            self._channels_last(data),
            filters,
            strides=plain(attributes.strides),
            padding=plain(attributes.padding),
            dilation=plain(attributes.dilation),
            groups=int(attributes.groups),
            out_dtype=attributes.out_dtype,
            **_FILTER,
        )

    def _binary(self, name: str, arguments: list[relax.Expr]) -> relax.Expr | None:
        if not any(each in self._last for each in arguments):
            return None
        if any(_rank(each) not in (0, 4) for each in arguments):
            return None
        sides = [self._channels_last(each) if _rank(each) else each for each in arguments]
        return getattr(relax.op, name.removeprefix("relax."))(*sides)

    def _channels_last(self, value: relax.Expr) -> relax.Expr:
        if isinstance(value, tvm.ir.Constant):
            return relax.const(np.ascontiguousarray(value.value.numpy().transpose(_TO_LAST)))
        if value not in self._last:
            turned = relax.op.permute_dims(self._first[value], _TO_LAST)
            self._last[value] = self._builder.emit(turned)
        return self._last[value]

    def _channels_first(self, value: relax.Expr) -> relax.Expr:
        if isinstance(value, relax.Var):
            if value not in self._first:
                last = self._last[value]
                if _is_point(last):
                    turned = relax.op.reshape(last, [last.ty.shape[axis] for axis in _TO_FIRST])
                else:
                    turned = relax.op.permute_dims(last, _TO_FIRST)
                self._first[value] = self._builder.emit(turned)
            return self._first[value]
        if isinstance(value, relax.Tuple):
            return relax.Tuple([self._channels_first(part) for part in value])
        if isinstance(value, relax.TupleGetItem):
            return relax.TupleGetItem(self._channels_first(value.tuple_value), value.index)
        if isinstance(value, relax.Call):
            arguments = [self._channels_first(argument) for argument in value.args]
            return relax.Call(value.op, arguments, value.attrs, value.ty_args)
        return value


def _turned(parameter: relax.Var) -> relax.Var:
    """The same parameter in NHWC."""
    ty = parameter.ty
    shape = [int(ty.shape[axis]) for axis in _TO_LAST]
    return relax.Var(parameter.name, relax.TensorType(shape, ty.dtype))


def _is_point(value: relax.Expr) -> bool:
    """Whether a map has one place, so that its layouts are one and the same in memory."""
    return all(int(value.ty.shape[axis]) == 1 for axis in (1, 2))


def _rank(value: relax.Expr) -> int | None:
    ty = value.ty
    return int(ty.ndim) if isinstance(ty, relax.TensorType) else None


def plain(value: Any) -> Any:
    """An attribute of a call, TVM's arrays of integers as lists."""
    is_array = hasattr(value, "__len__") and not isinstance(value, str)
    return [int(each) for each in value] if is_array else value
