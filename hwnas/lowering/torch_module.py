"""Graph to torch: a compiled plan of tensor functions, and a module that holds its weights.

The plan is the only interpreter of graphs in torch. It reads every attribute once, when it is
made; running it is a walk over a list. Stand-alone networks (`TorchModule`) and the blocks of a
supernet (`hwnas.supernet`) run the same plans, the latter on slices of shared weights.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.errors import LoweringError
from hwnas.graph import Graph, shape_of
from hwnas.lowering.onnx_model import Weights
from hwnas.lowering.torch_operators import (
    OPERATORS,
    Function,
    Normalisation,
    constant_array,
    normalisation_of,
    refused,
)

__all__ = ["Normalise", "TorchModule", "TorchPlan", "gate_name"]


Normalise = Callable[[Normalisation, Tensor, Tensor, Tensor], Tensor]
"""Called as `normalise(which, x, scale, bias)` in place of every batch normalisation."""


class _Step(NamedTuple):
    op_type: str
    function: Function
    operands: tuple[int, ...]
    result: int
    normalisation: Normalisation | None = None
    dying: tuple[int, ...] = ()


class TorchPlan:
    """A graph as a list of torch functions; holds no weights.

    For inference, batch normalisations are folded into the convolution before them.

    Args:
        graph: The network or block.
        gated: Names of products `x * s` that are to be `x * (1 + g * (s - 1))`; the scalar g is a
            further weight, by the name that `gate_name` gives it.

    Raises:
        LoweringError: A gated node is no product, or an operator or one of its attributes has no
            torch counterpart here; the message names operator and node.
    """

    def __init__(self, graph: Graph, *, gated: Collection[str] = ()) -> None:
        self.name = graph.name
        self.weight_shapes = {name: shape_of(value) for name, value in graph.weights.items()}
        self._names = (*self.weight_shapes, *map(gate_name, gated))
        self._inputs = len(graph.inputs)
        given: tuple[ir.Value | str, ...] = (*graph.inputs, *graph.weights.values(), *gated)
        slots = {value: i for i, value in enumerate(given)}
        self._constants: list[Tensor] = []
        for value in graph.model.graph.initializers.values():
            if value.name not in self.weight_shapes and value.const_value is not None:
                slots[value] = len(slots)
                self._constants.append(torch.from_numpy(constant_array(value).copy()))
        steps: list[_Step] = []
        for node in graph.nodes:
            if len(node.outputs) != 1:
                raise refused(node, f"it has {len(node.outputs)} outputs")
            if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
                raise refused(node, f"hwnas knows {', '.join(sorted(OPERATORS))} in torch")
            function, taken = OPERATORS[node.op_type](node)
            operands = tuple([slots[value] for value in taken])
            if node.name is not None and node.name in gated:
                if node.op_type != "Mul":
                    raise refused(node, "only a product can be gated")
                function, operands = _gated_product, (*operands, slots[node.name])
            result = slots[node.outputs[0]] = len(slots)
            steps.append(_Step(node.op_type, function, operands, result, normalisation_of(node)))
        self._slots = len(slots)
        self._results = tuple([slots[value] for value in graph.outputs])
        self._training = _scheduled(steps, self._results)
        self._inference = _scheduled(_folded(steps, self._results), self._results)

    def to(self, device: torch.device | str) -> None:
        """Keep the graph's constants on a device, where inputs and weights are to be."""
        self._constants = [constant.to(device) for constant in self._constants]

    def observed(
        self, operators: Collection[str], observe: Callable[[Tensor], object]
    ) -> "TorchPlan":
        """The same plan, which shows the first operand of some operators before they run.

        Args:
            operators: ONNX types of those operators.
            observe: Called with the operand, which the operator may change afterwards.
        """

        def showing(step: _Step) -> _Step:
            if step.op_type not in operators:
                return step
            function = step.function

            def run(x: Tensor, *rest: Tensor, **options: bool) -> Tensor:
                observe(x)
                return function(x, *rest, **options)

            return step._replace(function=run)

        found = copy(self)
        found._training = tuple(map(showing, self._training))
        found._inference = tuple(map(showing, self._inference))
        return found

    @property
    def is_empty(self) -> bool:
        """Whether the plan hands its input through."""
        return not self._training

    @property
    def normalisations(self) -> tuple[Normalisation, ...]:
        """Batch normalisations in order."""
        found = (step.normalisation for step in self._training)
        return tuple(normalisation for normalisation in found if normalisation is not None)

    @property
    def statistics(self) -> frozenset[str]:
        """Names of the weights that are running statistics: not trained, but averaged."""
        return frozenset(name for n in self.normalisations for name in (n.mean, n.variance))

    def __call__(
        self,
        inputs: Sequence[Tensor],
        weights: Mapping[str, Tensor],
        *,
        training: bool = False,
        normalise: Normalise | None = None,
    ) -> tuple[Tensor, ...]:
        """Run the graph.

        Args:
            inputs: One tensor per data input; the batch axis may have any length.
            weights: Tensors by name. In training the running statistics may be left out.
            training: Normalise by batch statistics; running statistics that are given are updated
                in place with the momentum of their node.
            normalise: Stands in for every batch normalisation; `training` is then without effect.

        Returns:
            One tensor per output.

        Raises:
            LoweringError: Another number of inputs than the graph has.
        """
        if len(inputs) != self._inputs:
            raise LoweringError(f"{self.name!r} takes {self._inputs} inputs, not {len(inputs)}")
        values: list[Tensor | None] = [*inputs, *map(weights.get, self._names), *self._constants]
        values += [None] * (self._slots - len(values))
        steps = self._inference if normalise is None and not training else self._training
        for _, function, operands, result, normalisation, dying in steps:
            taken = [values[i] for i in operands]
            if normalisation is None:
                values[result] = function(*taken)
            elif normalise is not None:
                x, scale, bias = taken[:3]
                assert x is not None
                assert scale is not None
                assert bias is not None
                values[result] = normalise(normalisation, x, scale, bias)
            else:
                values[result] = function(*taken, training=training)
            for slot in dying:
                values[slot] = None
        results = [values[slot] for slot in self._results]
        return tuple(tensor for tensor in results if tensor is not None)


def gate_name(node: str) -> str:
    """Name of the weight that gates a product."""
    return f"{node}/gate"


def _gated_product(x: Tensor, factor: Tensor, gate: Tensor) -> Tensor:
    return x * (factor * gate + (1.0 - gate))


class TorchModule(nn.Module):
    """A network in torch, with its weights as parameters and its running statistics as buffers.

    In training mode batch normalisation uses batch statistics and updates the running ones, as
    torch's own layers do.

    Args:
        graph: The network.
        weights: Values of all weights that the graph leaves unbound.

    Raises:
        LoweringError: A value is missing or of another shape, or an operator is not supported.
    """

    def __init__(self, graph: Graph, weights: Weights) -> None:
        super().__init__()
        self.plan = TorchPlan(graph)
        statistics = self.plan.statistics
        self._attributes: dict[str, str] = {}
        for name, value in graph.weights.items():
            array = weights.get(name)
            if array is None and value.const_value is not None:
                array = constant_array(value)
            if array is None:
                raise LoweringError(f"weight {name!r} of {graph.name!r} has no value")
            if array.shape != shape_of(value):
                raise LoweringError(
                    f"weight {name!r} is {array.shape}, the graph wants {shape_of(value)}"
                )
            tensor = torch.from_numpy(np.array(array))
            attribute = name.replace(".", ":")  # torch keeps the dot for nested modules
            self._attributes[name] = attribute
            if name in statistics or not tensor.is_floating_point():
                self.register_buffer(attribute, tensor)
            else:
                self.register_parameter(attribute, nn.Parameter(tensor))

    def forward(self, *inputs: Tensor) -> Tensor:
        """First output of the network for a batch of inputs."""
        return self.plan(inputs, self.tensors(), training=self.training)[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TorchModule":
        """What `to`, `cuda` and `half` come down to; constants follow the weights' device."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        first = next(self.parameters(), None)
        if first is not None:
            self.plan.to(first.device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers under the names that the graph gives them."""
        return {name: getattr(self, attribute) for name, attribute in self._attributes.items()}

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """Copies of all weights, running statistics included, by the graph's names."""
        return {name: t.detach().cpu().numpy().copy() for name, t in self.tensors().items()}


# Schedule --------------------------------------------------------------------------------------


def _folded(steps: list[_Step], results: tuple[int, ...]) -> list[_Step]:
    """Steps in which a convolution that only a batch normalisation reads is one with it."""
    uses = _uses(steps, results)
    producer = {step.result: step for step in steps}
    merged: dict[int, _Step] = {}
    gone: set[int] = set()
    for step in steps:
        before = producer.get(step.operands[0]) if step.normalisation is not None else None
        if before is None or before.op_type != "Conv" or uses[before.result] != 1:
            continue
        assert step.normalisation is not None
        function = _convolved_and_normalised(before, step.normalisation.epsilon)
        operands = (*before.operands, *step.operands[1:])
        merged[step.result] = _Step("Conv", function, operands, step.result)
        gone.add(before.result)
    return [merged.get(step.result, step) for step in steps if step.result not in gone]


def _convolved_and_normalised(convolution: _Step, epsilon: float) -> Function:
    convolve = convolution.function

    def run(x: Tensor, weight: Tensor, *rest: Tensor) -> Tensor:
        scale, bias, mean, variance = rest[-4:]
        factor = scale * torch.rsqrt(variance + epsilon)
        shift = mean - rest[0] if len(rest) == 5 else mean
        scaled = weight * factor.view(-1, *[1] * (weight.ndim - 1))
        return convolve(x, scaled, torch.addcmul(bias, shift, factor, value=-1.0))

    return run


_NEED_NO_RESULT = ("Add", "BatchNormalization", "Conv")  # for their gradients


def _scheduled(steps: list[_Step], results: tuple[int, ...]) -> tuple[_Step, ...]:
    """Steps that drop a tensor after its last use and rectify in place where that is safe."""
    uses = _uses(steps, results)
    last = {slot: i for i, step in enumerate(steps) for slot in step.operands}
    producer = {step.result: step.op_type for step in steps}
    found = []
    for i, step in enumerate(steps):
        dying = [s for s in dict.fromkeys(step.operands) if last[s] == i and s not in results]
        function = step.function
        if (
            step.op_type == "Relu"
            and uses[step.operands[0]] == 1
            and producer.get(step.operands[0]) in _NEED_NO_RESULT
        ):
            function = functional.relu_
        found.append(step._replace(function=function, dying=tuple(dying)))
    return tuple(found)


def _uses(steps: list[_Step], results: tuple[int, ...]) -> Counter[int]:
    return Counter([*results, *(slot for step in steps for slot in step.operands)])
