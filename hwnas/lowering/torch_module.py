"""Graph to torch: a compiled plan of tensor functions, and a module that holds its weights.

The plan is the only interpreter of graphs in torch. It reads every attribute once, when it is
made; running it is a walk over a list. Stand-alone networks (`TorchModule`) and the blocks of a
supernet (`hwnas.supernet`) run the same plans, the latter on slices of shared weights.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.errors import LoweringError
from hwnas.graph import Graph, shape_of
from hwnas.lowering.onnx_model import Weights

__all__ = ["Normalisation", "Normalise", "TorchModule", "TorchPlan"]

Function = Callable[..., Tensor]


class Normalisation(NamedTuple):
    """One batch normalisation of a plan: names of its running statistics, and its attributes."""

    mean: str
    variance: str
    epsilon: float
    momentum: float


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

    Raises:
        LoweringError: An operator or one of its attributes has no torch counterpart here; the
            message names operator and node.
    """

    def __init__(self, graph: Graph) -> None:
        self.name = graph.name
        self.weight_shapes = {name: shape_of(value) for name, value in graph.weights.items()}
        self._names = tuple(self.weight_shapes)
        self._inputs = len(graph.inputs)
        slots = {value: i for i, value in enumerate((*graph.inputs, *graph.weights.values()))}
        self._constants: list[Tensor] = []
        for value in graph.model.graph.initializers.values():
            if value.name not in self.weight_shapes and value.const_value is not None:
                slots[value] = len(slots)
                self._constants.append(torch.from_numpy(_array(value).copy()))
        steps: list[_Step] = []
        for node in graph.nodes:
            if len(node.outputs) != 1:
                raise _refused(node, f"it has {len(node.outputs)} outputs")
            if node.domain not in ("", "ai.onnx") or node.op_type not in _COMPILERS:
                raise _refused(node, f"hwnas knows {', '.join(sorted(_COMPILERS))} in torch")
            function, taken = _COMPILERS[node.op_type](node)
            operands = tuple([slots[value] for value in taken])
            result = slots[node.outputs[0]] = len(slots)
            steps.append(_Step(node.op_type, function, operands, result, _normalisation(node)))
        self._slots = len(slots)
        self._results = tuple([slots[value] for value in graph.outputs])
        self._training = _scheduled(steps, self._results)
        self._inference = _scheduled(_folded(steps, self._results), self._results)

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
                array = _array(value)
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


# Operators -------------------------------------------------------------------------------------

Compiled = tuple[Function, tuple[ir.Value, ...]]


def _conv(node: ir.Node) -> Compiled:
    values = _values(node)
    rank = len(shape_of(values[1])) - 2
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}.get(rank)
    if convolve is None:
        raise _refused(node, f"it convolves over {rank} axes")
    pad, rest = _pads(node, rank)
    stride = _ints(node, "strides", (1,) * rank)
    dilation = _ints(node, "dilations", (1,) * rank)
    group = _int(node, "group", 1)

    side = max(shape_of(values[1])[2:])
    depthwise = rank == 2 and group > 1 and shape_of(values[1])[1] == 1 and side > 3

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if rest is not None:
            x = functional.pad(x, rest)
        if depthwise and weight.requires_grad and torch.is_grad_enabled():
            y: Tensor = _Depthwise.apply(  # type: ignore[no-untyped-call]
                x, weight, stride, pad, dilation, group
            )
            return y if bias is None else y + bias[:, None, None]
        return convolve(x, weight, bias, stride, pad, dilation, group)

    return run, values


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution whose weight gradient is computed channels-last.

    On CPU oneDNN's gradient for kernels above 3 takes 2 to 3 times as long in NCHW (torch 2.13:
    5x5 at 96x16x16, batch 64: 16.5 ms against 9.6 ms; 7x7: 33.8 ms against 13.4 ms), and is three
    quarters of a training step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        stride: tuple[int, ...],
        pad: tuple[int, ...],
        dilation: tuple[int, ...],
        group: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = (stride, pad, dilation, False, (0, 0), group)
        return functional.conv2d(x, weight, None, stride, pad, dilation, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        derive = torch.ops.aten.convolution_backward
        x_grad = weight_grad = None
        if ctx.needs_input_grad[0]:
            x_grad = derive(grad, x, weight, None, *ctx.shape, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            last = torch.channels_last
            parts = (grad.contiguous(memory_format=last), x.contiguous(memory_format=last))
            weight_grad = derive(*parts, weight, None, *ctx.shape, (False, True, False))[1]
        return x_grad, weight_grad, None, None, None, None


def _batch_normalization(node: ir.Node) -> Compiled:
    if _int(node, "training_mode", 0):
        raise _refused(node, "it is in training mode")
    which = _normalisation(node)
    assert which is not None
    epsilon, momentum = which.epsilon, which.momentum

    def run(
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        *,
        training: bool,
    ) -> Tensor:
        return functional.batch_norm(x, mean, variance, scale, bias, training, momentum, epsilon)

    return run, _values(node)


def _normalisation(node: ir.Node) -> Normalisation | None:
    if node.op_type != "BatchNormalization":
        return None
    values = _values(node)
    return Normalisation(
        values[3].name or "",
        values[4].name or "",
        _float(node, "epsilon", 1e-5),
        1.0 - _float(node, "momentum", 0.9),  # ONNX weighs the old value, torch the new one
    )


def _clip(node: ir.Node) -> Compiled:
    bounds: list[float | None] = []
    slots = node.inputs[1:]
    for index, name in enumerate(("min", "max")):
        bound = slots[index] if index < len(slots) else None
        if bound is not None:
            if bound.const_value is None:
                raise _refused(node, f"its {name} is not a constant")
            bounds.append(float(_array(bound).item()))
        elif name in node.attributes:
            bounds.append(node.attributes[name].as_float())
        else:
            bounds.append(None)
    low, high = bounds
    x = _values(node)[:1]
    if (low, high) == (0.0, 6.0):
        return functional.relu6, x
    if low is None and high is None:
        return _same, x
    return (lambda v: torch.clamp(v, low, high)), x


def _hard_sigmoid(node: ir.Node) -> Compiled:
    alpha, beta = _float(node, "alpha", 0.2), _float(node, "beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid, _values(node)
    return (lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)), _values(node)


def _gemm(node: ir.Node) -> Compiled:
    alpha, beta = _float(node, "alpha", 1.0), _float(node, "beta", 1.0)
    left, right = _int(node, "transA", 0), _int(node, "transB", 0)
    if (alpha, beta, left, right) == (1.0, 1.0, 0, 1):
        return functional.linear, _values(node)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = alpha * ((a.mT if left else a) @ (b.mT if right else b))
        return product if c is None else product + beta * c

    return run, _values(node)


def _max_pool(node: ir.Node) -> Compiled:
    kernel, stride, pad, rest, ceil = _pooling(node)
    dilation = _ints(node, "dilations", (1, 1))

    def run(x: Tensor) -> Tensor:
        if rest is not None:
            x = functional.pad(x, rest, value=float("-inf"))
        return functional.max_pool2d(x, kernel, stride, pad, dilation, ceil)

    return run, _values(node)


def _average_pool(node: ir.Node) -> Compiled:
    kernel, stride, pad, rest, ceil = _pooling(node)
    counted = bool(_int(node, "count_include_pad", 0))
    if rest is not None or any(side != 1 for side in _ints(node, "dilations", (1, 1))):
        raise _refused(node, "its pads differ between the two ends of an axis, or it is dilated")
    return (lambda x: functional.avg_pool2d(x, kernel, stride, pad, ceil, counted)), _values(node)


def _pooling(
    node: ir.Node,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...] | None, bool]:
    kernel = _ints(node, "kernel_shape", ())
    if len(kernel) != 2:
        raise _refused(node, f"it pools over {len(kernel)} axes")
    pad, rest = _pads(node, 2)
    return kernel, _ints(node, "strides", (1, 1)), pad, rest, bool(_int(node, "ceil_mode", 0))


def _flatten(node: ir.Node) -> Compiled:
    axis = _int(node, "axis", 1)
    if axis == 1:
        return (lambda x: torch.flatten(x, 1)), _values(node)
    return (lambda x: x.reshape(int(np.prod(x.shape[:axis])), -1)), _values(node)


def _reshape(node: ir.Node) -> Compiled:
    x, target = _values(node)[:2]
    if target.const_value is None:
        raise _refused(node, "its shape is not a constant")
    shape = [int(side) for side in _array(target)]
    if shape and shape[0] == shape_of(x)[0] and -1 not in shape[1:]:
        shape[0] = -1  # the leading axis is the batch, which may have any length here
    if 0 in shape:
        if _int(node, "allowzero", 0):
            raise _refused(node, "it has a side of 0")
        shape = [shape_of(x)[i] if side == 0 and i else side for i, side in enumerate(shape)]
        if shape[0] == 0:
            return (lambda v: v.reshape(v.shape[0], *shape[1:])), (x,)
    return (lambda v: v.reshape(shape)), (x,)


def _concat(node: ir.Node) -> Compiled:
    axis = _int(node, "axis", 1)
    return (lambda *parts: torch.cat(parts, axis)), _values(node)


def _same(x: Tensor) -> Tensor:
    return x


def _global_average(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


def _plain(function: Function) -> Callable[[ir.Node], Compiled]:
    return lambda node: (function, _values(node))


_COMPILERS: dict[str, Callable[[ir.Node], Compiled]] = {
    "Add": _plain(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _plain(_global_average),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(functional.hardswish),
    "Identity": _plain(_same),
    "MatMul": _plain(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _plain(torch.mul),
    "Relu": _plain(functional.relu),
    "Reshape": _reshape,
    "Sigmoid": _plain(torch.sigmoid),
}


def _refused(node: ir.Node, why: str) -> LoweringError:
    return LoweringError(f"operator {node.op_type!r} of node {node.name!r} cannot run: {why}")


def _values(node: ir.Node) -> tuple[ir.Value, ...]:
    found = list(node.inputs)
    while found and found[-1] is None:
        found.pop()
    return tuple(value for value in found if value is not None)


def _array(value: ir.Value) -> npt.NDArray[np.float32]:
    assert value.const_value is not None
    return value.const_value.numpy()


def _pads(node: ir.Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Padding that both ends share, and what `functional.pad` must add before, if they differ."""
    mode = node.attributes.get("auto_pad")
    if mode is not None and mode.as_string() not in ("NOTSET", "VALID"):
        raise _refused(node, f"auto_pad {mode.as_string()!r}; give explicit pads")
    pads = _ints(node, "pads", (0,) * (2 * rank))
    begin, end = pads[:rank], pads[rank:]
    if begin == end:
        return begin, None
    rest = tuple(side for pair in reversed(list(zip(begin, end, strict=True))) for side in pair)
    return (0,) * rank, rest


def _int(node: ir.Node, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None else found.as_int()


def _float(node: ir.Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None else found.as_float()


def _ints(node: ir.Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    found = node.attributes.get(name)
    return default if found is None else tuple(found.as_ints())
