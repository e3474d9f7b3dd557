"""A graph of torch's, with example arguments, as an ONNX model; or why it cannot be one."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import onnx
import torch
from torch import fx

from hwnas.compilers.torch_attention import attention_decompositions
from hwnas.errors import LoweringError, PluginError

__all__ = ["TORCH_EXTRA", "ExportedGraph", "check_exporter", "export_graph"]

TORCH_EXTRA = "pip install 'hwnas[compile]'"
_SOUND_TYPES = frozenset(
    {torch.float32, torch.float64, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool}
)


@dataclass(frozen=True)
class ExportedGraph:
    """An ONNX model of which every tensor argument is an input.

    Args:
        model: The model.
        inputs: Names of its inputs by position of the argument.
    """

    model: onnx.ModelProto
    inputs: dict[int, str]


def check_exporter() -> None:
    """Whether torch's ONNX exporter can work.

    Raises:
        PluginError: The package that it needs is missing.
    """
    if find_spec("onnxscript") is None:
        raise PluginError(
            f"the backend 'hwnas' of torch.compile needs onnxscript to export: {TORCH_EXTRA}"
        )


def export_graph(graph: fx.GraphModule, arguments: Sequence[object]) -> ExportedGraph:
    """Export a graph for arguments of these shapes; integers become constants.

    Raises:
        LoweringError: Results would differ from eager ones, or the exporter does not know an
            operator; the message says which.
    """
    tensors = {i: a for i, a in enumerate(arguments) if isinstance(a, torch.Tensor)}
    _check_tensors(tensors.values())
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(graph, tuple(arguments), strict=False)
            program = program.run_decompositions(dict(attention_decompositions()))
    except Exception as error:  # any operator's own tracing code may fail in its own way
        raise LoweringError(f"torch.export: {_first_line(error)}") from error
    _check_program(program)
    try:
        with _quiet():
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
        assert exported is not None  # it is None only where a file is written
        model = exported.model_proto
    except Exception as error:  # see above
        raise LoweringError(f"torch.onnx.export: {_cause(error)}") from error
    named = [spec.arg.name for spec in program.graph_signature.input_specs]
    present = {value.name for value in model.graph.input}
    inputs = {i: named[i] for i in tensors if named[i] in present}
    return ExportedGraph(model, inputs)


def _check_tensors(tensors: Iterable[torch.Tensor]) -> None:
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.layout != torch.strided:
            raise LoweringError(f"a {tensor.layout} tensor on {tensor.device}, not a dense on cpu")
        if tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
            raise LoweringError("a quantized tensor, or a view that conjugates or negates")


def _check_program(program: torch.export.ExportedProgram) -> None:
    """Whether the results are a function of the arguments, in types that are computed alike."""
    signature = program.graph_signature
    changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
    if changed:
        raise LoweringError(f"changes its inputs or buffers in place: {', '.join(changed)}")
    for node in program.graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.nondeterministic_seeded in tags and not _is_identity_dropout(node):
            raise LoweringError(f"draws random numbers ({node.target}), as in training mode")
        value = node.meta.get("val")
        values = value if isinstance(value, list | tuple) else [value]
        odd = [v for v in values if isinstance(v, torch.Tensor) and v.dtype not in _SOUND_TYPES]
        if odd:
            kind = str(odd[0].dtype).removeprefix("torch.")
            raise LoweringError(f"{kind} at {node.name}: rounded otherwise than in eager mode")
    for spec in signature.output_specs:
        if not isinstance(spec.arg, torch.export.graph_signature.TensorArgument):
            raise LoweringError(f"an output that is no tensor: {spec.arg}")


def _is_identity_dropout(node: fx.Node) -> bool:
    """Whether it is dropout outside training, which draws nothing."""
    dropout = torch.ops.aten.dropout.default
    return node.target is dropout and len(node.args) > 2 and node.args[2] is False


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages and internals that no user can act on."""
    loggers = [logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _cause(error: BaseException) -> str:
    """The innermost error, which names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else ''}"
