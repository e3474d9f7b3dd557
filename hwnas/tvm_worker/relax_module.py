"""ONNX to a fused Relax module, whose `main` calls one PrimFunc a kernel. Runs where TVM runs.

The steps are those of TVM's own pipelines up to the point where scheduling begins, so that a
network and a piece of it give equal kernels.
"""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.relax.frontend.onnx import from_onnx

from hwnas.errors import LoweringError
from hwnas.tvm_worker.channels_last import ChannelsLast
from hwnas.tvm_worker.half_precision import HalfPrecision
from hwnas.tvm_worker.messages import FloatPrecision

__all__ = ["fuse", "import_onnx", "plain_target"]


def plain_target() -> tvm.target.Target:
    """A target for steps that need one and whose result does not depend on it."""
    return tvm.target.Target({"kind": "llvm", "num-cores": 1})


def import_onnx(model: bytes) -> tvm.IRModule:
    """An ONNX model as high-level Relax, weights as constants.

    Raises:
        LoweringError: The bytes are no model, or hold operators that TVM's importer does not take.
    """
    try:
        proto = onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's own classes differ between its implementations
        raise LoweringError(f"not an ONNX model: {error}") from error
    _constants_to_initialisers(proto.graph)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # renames values whose names have dots
            return from_onnx(proto, keep_params_in_input=False)
    except tvm.error.OpNotImplemented as error:
        raise LoweringError(
            f"TVM does not import {proto.graph.name!r}: {_first_line(error)}; replace these "
            "operators, or use target cpu"
        ) from error
    except Exception as error:  # the importer lets errors of its own converters through
        raise LoweringError(
            f"TVM does not import {proto.graph.name!r}: {_first_line(error)}"
        ) from error


def fuse(
    module: tvm.IRModule, *, piece: bool = False, precision: FloatPrecision = "float32"
) -> tvm.IRModule:
    """Bring maps into channels-last layout and a precision, legalise, and fuse into PrimFuncs.

    The layout serves GPUs too: images of a batch and places of a map are then one long side of a
    matrix product, which tiles of any size divide better than the 7x7 places of one late map.

    Args:
        module: High-level Relax.
        piece: Whether it is a piece of a network, whose inputs and results are then of that layout
            and precision, as between pieces; those of a network are NCHW and float32.
        precision: Of weights and of what is between operators.

    Raises:
        LoweringError: TVM cannot legalise an operator.
    """
    passes = tvm.transform.Sequential(
        [
            relax.transform.FoldBatchnormToConv2D(),
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
            FoldSmallConstants(),
            ChannelsLast(borders=piece),
            FoldSmallConstants(),
            HalfPrecision(precision, borders=piece),
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
        ]
    )
    try:
        with plain_target():
            return passes(module)
    except LoweringError:
        raise
    except (tvm.error.InternalError, ValueError, RuntimeError) as error:
        raise LoweringError(f"TVM cannot lower the network: {_first_line(error)}") from error


_ARITHMETIC = {
    "relax.add": np.add,
    "relax.divide": np.divide,
    "relax.multiply": np.multiply,
    "relax.sqrt": np.sqrt,
    "relax.subtract": np.subtract,
}


@tvm.transform.module_pass(opt_level=0, name="hwnas.FoldSmallConstants")
class FoldSmallConstants:
    """Compute with constants here, and make `clip` of what the importer makes of `Clip`.

    TVM's own FoldConstant compiles and runs a function for each of them, which is nine tenths of
    the time that lowering a small network takes. The importer turns `Clip` into two functions
    whose limits depend on whether a constant is not a number.
    """

    def transform_module(
        self,
        module: tvm.IRModule,
        context: tvm.transform.PassContext,  # noqa: ARG002 (the contract gives it)
    ) -> tvm.IRModule:
        """The pass."""
        rewriter = _ConstantFolder(module)
        for name, function in module.functions_items():
            if isinstance(function, relax.Function):
                rewriter.builder_.update_func(name, rewriter.visit_expr(function))
        return relax.transform.DeadCodeElimination()(rewriter.builder_.get())


@mutator
class _ConstantFolder(PyExprMutator):  # type: ignore[misc]  # TVM is untyped
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        if name == "relax.call_tir":
            return self._limit(call)
        known: list[Any] = [self._value(argument) for argument in call.args]
        if name == "relax.isnan" and known[0] is not None:
            return relax.const(np.isnan(known[0]))
        if name in _ARITHMETIC and all(value is not None for value in known):
            return relax.const(np.asarray(_ARITHMETIC[name](*known), known[0].dtype))
        if name == "relax.expand_dims" and known[0] is not None:
            axes = tuple(int(axis) for axis in call.attrs.axis)
            return relax.const(np.expand_dims(known[0], axes))
        if name == "relax.where":
            which, first, second = known
            if which is not None and first is not None and second is not None:
                return relax.const(np.where(which, first, second))
        if name == "relax.reshape" and known[0] is not None:
            shape = call.args[1]
            if isinstance(shape, relax.ShapeExpr):
                return relax.const(known[0].reshape([int(side) for side in shape.values]))
        if name == "relax.permute_dims" and known[0] is not None:
            axes = call.attrs.axes
            order = None if axes is None else [int(axis) for axis in axes]
            return relax.const(np.ascontiguousarray(known[0].transpose(order)))
        return call

    def _limit(self, call: relax.Call) -> relax.Expr:
        """A call of a function `maximum` or `minimum` with a scalar as an operator."""
        name = call.args[0].name_hint.rstrip("0123456789")
        arguments = list(call.args[1])
        if name not in ("maximum", "minimum") or len(arguments) != 2:
            return call
        x, limit = arguments[0], self._value(arguments[1])
        if limit is None or limit.ndim:
            return call
        inner: Any = self.lookup_binding(x) if isinstance(x, relax.Var) else None
        if (
            name == "minimum"
            and getattr(getattr(inner, "op", None), "name", "") == "relax.maximum"
        ):
            low = self._value(inner.args[1])
            if low is not None and not low.ndim:
                return relax.op.clip(inner.args[0], float(low), float(limit))
        made: relax.Expr = getattr(relax.op, name)(x, relax.const(limit))
        return made

    def _value(self, expression: relax.Expr) -> npt.NDArray[Any] | None:
        """A constant's value, also behind a variable."""
        if isinstance(expression, relax.Var):
            expression = self.lookup_binding(expression)
        if not isinstance(expression, tvm.ir.Constant):
            return None
        found = expression.value
        value: npt.NDArray[Any] = found.numpy() if hasattr(found, "numpy") else np.asarray(found)
        return value


def _constants_to_initialisers(graph: onnx.GraphProto) -> None:
    """Replace `Constant` nodes, of which the importer takes only those with a tensor."""
    kept = []
    for node in graph.node:
        if node.op_type != "Constant" or node.domain:
            kept.append(node)
            continue
        attribute = node.attribute[0]
        value = onnx.helper.get_attribute_value(attribute)
        if not isinstance(value, onnx.TensorProto):
            kind = np.float32 if attribute.name.startswith("value_float") else np.int64
            value = onnx.numpy_helper.from_array(np.asarray(value, kind))
        value.name = node.output[0]
        graph.initializer.append(value)
    del graph.node[:]
    graph.node.extend(kept)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
