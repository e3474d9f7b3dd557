"""ONNX to a fused Relax module, whose `main` calls one PrimFunc a kernel. Runs where TVM runs.

The steps are those of TVM's own pipelines up to the point where scheduling begins, so that a
network and a piece of it give equal kernels.
"""

import warnings

import numpy as np
import onnx
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.relax.frontend.onnx import from_onnx

from hwnas.errors import LoweringError

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


def fuse(module: tvm.IRModule) -> tvm.IRModule:
    """Legalise and fuse into PrimFuncs."""
    passes = tvm.transform.Sequential(
        [
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
            FoldReshapedConstants(),
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
    except (tvm.error.InternalError, ValueError, RuntimeError) as error:
        raise LoweringError(f"TVM cannot lower the network: {_first_line(error)}") from error


@tvm.transform.module_pass(opt_level=0, name="hwnas.FoldReshapedConstants")
class FoldReshapedConstants:
    """Reshape and transpose constants here.

    TVM's own FoldConstant compiles and runs a function for each of them, which is nine tenths of
    the time that lowering a small network takes.
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
        return rewriter.builder_.get()


@mutator
class _ConstantFolder(PyExprMutator):  # type: ignore[misc]  # TVM is untyped
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        if name not in ("relax.reshape", "relax.permute_dims"):
            return call
        source = call.args[0]
        if isinstance(source, relax.Var):
            source = self.lookup_binding(source)
        if not isinstance(source, tvm.ir.Constant):
            return call
        values = source.value.numpy()
        if name == "relax.reshape":
            shape = call.args[1]
            if not isinstance(shape, relax.ShapeExpr):
                return call
            return relax.const(values.reshape([int(side) for side in shape.values]))
        axes = call.attrs.axes
        order = None if axes is None else [int(axis) for axis in axes]
        return relax.const(np.ascontiguousarray(values.transpose(order)))


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
