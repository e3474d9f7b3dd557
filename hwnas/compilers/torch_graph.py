"""One graph that torch hands over: lowered once for each shape of its inputs, eager otherwise.

Lowering happens at the first call, with real arguments. Integer arguments, which torch makes of
sizes that it takes for dynamic, become constants of the lowered graph: every combination of
shapes is a lowered graph of its own, up to a limit.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import fx

from hwnas.compilers.torch_export import ExportedGraph, export_graph
from hwnas.compilers.torch_weights import WeightStamp
from hwnas.errors import LoweringError, MeasurementError
from hwnas.lowering.onnx_kernels import OnnxKernel
from hwnas.targets import Target

__all__ = ["CompiledGraph", "Runtime", "Variant"]

log = logging.getLogger(__name__)

_MOST_SHAPES = 16
_TOLERANCE = 1e-4  # of the largest absolute value of an eager result, or of 1 if that is larger
_WEIGHT_MARKS = ("_parameters_", "_buffers_")

Array = npt.NDArray[np.generic]
Shapes = tuple[object, ...]


class RunningGraph(Protocol):
    """A lowered graph in a runtime."""

    kernels: tuple[OnnxKernel, ...]

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Outputs in order."""

    def measure(self, inputs: Mapping[str, Array], repeats: int) -> tuple[dict[str, float], float]:
        """Median latency in s of each kernel by name, and of the whole."""

    def close(self) -> None:
        """Free what it holds outside this object."""


@dataclass(frozen=True)
class Runtime:
    """What executes graphs.

    Args:
        name: Such as `onnxruntime 1.31.1`.
        bias: What is known to be wrong with the times that it gives for kernels.
        target: The device.
        table: Cost table for predictions, if there is one.
        load: Makes a model whose weights are initializers run.
    """

    name: str
    bias: str
    target: Target
    table: Path | None
    load: Callable[[onnx.ModelProto], RunningGraph]


@dataclass
class Variant:
    """A graph for inputs of certain shapes.

    Args:
        title: Shapes of the data inputs.
        exported: None if it runs eagerly.
        reason: Why it runs eagerly.
        weights: Positions of weights among the arguments.
        example: Data inputs by name, as in the first call.
    """

    title: str
    exported: ExportedGraph | None
    reason: str
    weights: tuple[int, ...] = ()
    example: dict[str, Array] | None = None
    running: RunningGraph | None = None
    stamp: WeightStamp | None = None
    calls: int = 0


class CompiledGraph:
    """What runs in place of a graph of torch's.

    Weights are built into the lowered graph, which runtimes need to prepare them; before every
    call it is checked whether they have changed (`WeightStamp`), and a new one is built if so.

    Args:
        graph: The graph.
        examples: Arguments as torch describes them.
        runtime: What executes it.
    """

    def __init__(
        self, graph: fx.GraphModule, examples: Sequence[object], runtime: Runtime
    ) -> None:
        self._graph = graph
        self.runtime = runtime
        names = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        self._is_weight = [
            isinstance(example, torch.nn.Parameter) or any(mark in name for mark in _WEIGHT_MARKS)
            for name, example in zip(names, examples, strict=True)
        ]
        self._eager_why: dict[str, int] = {}
        self.variants: dict[Shapes, Variant] = {}

    @property
    def eager_calls(self) -> Mapping[str, int]:
        """Calls that ran eagerly whatever their shapes, by reason."""
        return self._eager_why

    def __call__(self, *arguments: object) -> object:
        """Run."""
        asks_gradient = torch.is_grad_enabled() and any(
            isinstance(a, torch.Tensor) and a.requires_grad for a in arguments
        )
        if asks_gradient:
            return self._eagerly("gradients are asked for: call under torch.no_grad()", arguments)
        if torch.is_autocast_enabled("cpu"):
            return self._eagerly("autocast is on", arguments)
        shapes = tuple(map(_shape, arguments))
        variant = self.variants.get(shapes)
        if variant is None:
            if len(self.variants) >= _MOST_SHAPES:
                return self._eagerly(f"more than {_MOST_SHAPES} shapes", arguments)
            variant = self.variants[shapes] = self._lowered(arguments)
        variant.calls += 1
        if variant.exported is None:
            return self._graph(*arguments)
        try:
            return self._run(variant, arguments)
        except (LoweringError, MeasurementError) as error:
            self._give_up(variant, str(error))
            return self._graph(*arguments)

    def _eagerly(self, reason: str, arguments: Sequence[object]) -> object:
        self._eager_why[reason] = self._eager_why.get(reason, 0) + 1
        return self._graph(*arguments)

    def _lowered(self, arguments: Sequence[object]) -> Variant:
        data = [a for a, w in zip(arguments, self._is_weight, strict=True) if not w]
        title = ", ".join(_described(a) for a in data if isinstance(a, torch.Tensor))
        try:
            exported = export_graph(self._graph, arguments)
        except LoweringError as error:
            log.info("a graph runs eagerly: %s", error)
            return Variant(title, None, str(error))
        weights = tuple(i for i in exported.inputs if self._is_weight[i])
        variant = Variant(title, exported, "", weights)
        try:
            self._check(variant, arguments)
        except (LoweringError, MeasurementError) as error:
            self._give_up(variant, str(error))
        return variant

    def _check(self, variant: Variant, arguments: Sequence[object]) -> None:
        """Compare with eager results once.

        Raises:
            LoweringError: They differ, or the runtime refuses the graph.
        """
        variant.example = {k: np.array(v) for k, v in _data(variant, arguments).items()}
        found = self._run(variant, arguments)
        with torch.no_grad():
            wanted = self._graph(*arguments)
        wanted = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        if len(found) != len(wanted):
            raise LoweringError(f"{len(found)} outputs, eagerly {len(wanted)}")
        for number, (ours, eager) in enumerate(zip(found, wanted, strict=True)):
            if ours.shape != eager.shape or ours.dtype != eager.dtype:
                raise LoweringError(
                    f"output {number} is {_described(ours)}, eagerly {_described(eager)}"
                )
            scale = 0.0
            if eager.is_floating_point() and eager.numel():
                largest = float(eager.nan_to_num(posinf=0.0, neginf=0.0).abs().max())
                scale = max(1.0, largest)
            if not torch.allclose(ours, eager, rtol=0, atol=_TOLERANCE * scale, equal_nan=True):
                raise LoweringError(f"output {number} differs from the eager one")

    def _run(self, variant: Variant, arguments: Sequence[object]) -> tuple[torch.Tensor, ...]:
        chosen = [arguments[i] for i in variant.weights]
        weights = [weight for weight in chosen if isinstance(weight, torch.Tensor)]
        if variant.stamp is None or not variant.stamp.fits(weights):
            assert variant.exported is not None  # those without run eagerly
            if variant.running is not None:
                variant.running.close()
            variant.running = self.runtime.load(_bound(variant, weights))
            variant.stamp = WeightStamp(weights)
        assert variant.running is not None  # loaded above or before
        outputs = variant.running.run(_data(variant, arguments))
        return tuple(torch.from_numpy(output) for output in outputs)

    def _give_up(self, variant: Variant, reason: str) -> None:
        log.info("a graph runs eagerly: %s", reason)
        variant.exported = variant.running = variant.stamp = variant.example = None
        variant.reason = reason


def _data(variant: Variant, arguments: Sequence[object]) -> dict[str, Array]:
    """Inputs that are no weights, by name, sharing memory where they are dense."""
    assert variant.exported is not None  # those without run eagerly
    found = {}
    for position, name in variant.exported.inputs.items():
        tensor = arguments[position]
        if position not in variant.weights and isinstance(tensor, torch.Tensor):
            found[name] = tensor.detach().contiguous().numpy()
    return found


def _bound(variant: Variant, weights: Sequence[torch.Tensor]) -> onnx.ModelProto:
    """The model with the weights as initializers, as copies."""
    assert variant.exported is not None  # those without run eagerly
    model = onnx.ModelProto()
    model.CopyFrom(variant.exported.model)
    values = {}
    for position, weight in zip(variant.weights, weights, strict=True):
        name = variant.exported.inputs[position]
        values[name] = onnx.numpy_helper.from_array(weight.detach().contiguous().numpy(), name)
    kept = [value for value in model.graph.input if value.name not in values]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(values.values())
    return model


def _shape(argument: object) -> object:
    """What a lowered graph depends on."""
    if isinstance(argument, torch.Tensor):
        return tuple(argument.shape), argument.dtype, argument.device.type
    return argument


def _described(tensor: torch.Tensor) -> str:
    shape = "x".join(map(str, tensor.shape)) or "scalar"
    kind = str(tensor.dtype).removeprefix("torch.")
    return shape if kind == "float32" else f"{shape} {kind}"
