"""Two paths in the memory of one: gradients of binary gates.

Of the two candidates of a place, the active one has gate 1 and runs, the other has gate 0. The
output is `m = g_1 o_1 + g_2 o_2`, which is the active one's, and the gradient of a gate is

    dL/dg_j = <dL/dm, o_j>,

summed over the whole tensor (Cai et al., ProxylessNAS, ICLR 2019, sec. 3.2). The other candidate
is not computed before the backward pass has reached its place: from the same input, without a
graph, and given up at once. What is kept from forward to backward is what one path keeps, however
many candidates there are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.errors import SpaceError
from hwnas.spaces import SearchSpace
from hwnas.supernet.supernet import Choice, Supernet

__all__ = ["BlockGates", "DepthGates", "binary_gates", "check_depth", "gated_logits", "mixture"]


@dataclass(frozen=True, eq=False)
class BlockGates:
    """Two candidates of one block.

    Args:
        other: Choice of the block that is not active.
        gates: `(2,)`, the active candidate's first: 1 and 0.
    """

    other: Choice
    gates: Tensor


@dataclass(frozen=True, eq=False)
class DepthGates:
    """Two depths of one stage.

    Args:
        column: Of the decision that says which blocks are there.
        other: Its option that is not active.
        gates: `(2,)`, the active depth's first: 1 and 0.
    """

    column: int
    other: int
    gates: Tensor


def binary_gates(probabilities: Tensor, active: int) -> Tensor:
    """Gates `(k,)`: one-hot in value, with the gradient of the probabilities.

    Going back through a softmax this is ProxylessNAS's estimate
    `dL/da_i = sum_j dL/dg_j p_j (delta_ij - p_i)`.

    Args:
        probabilities: `(k,)`.
        active: The candidate whose gate is 1.
    """
    hard = torch.zeros_like(probabilities)
    hard[active] = 1.0
    return probabilities + (hard - probabilities).detach()


def mixture(active: Tensor, gates: Tensor, other: Callable[[], Tensor]) -> Tensor:
    """The active candidate's output, through which gates get their gradients.

    Args:
        active: Output of the candidate with gate 1.
        gates: `(2,)`, the active one's first.
        other: Computes the other candidate's output; called once, in the backward pass, where no
            graph is recorded.
    """
    mixed: Tensor = _Mixture.apply(active, gates, other)  # type: ignore[no-untyped-call]
    return mixed


def gated_logits(
    supernet: Supernet,
    images: Tensor,
    row: npt.NDArray[np.uint8],
    blocks: Mapping[int, BlockGates],
    depths: Sequence[DepthGates] = (),
) -> Tensor:
    """Logits of the active path `(n, classes)`, with gradients for gates and none for weights.

    Every batch normalisation uses the statistics of the batch.

    Args:
        supernet: The weights.
        images: `(n, c, h, w)`.
        row: Active options `(d,)`, of blocks that are absent in the active path too: a deeper
            stage takes their candidates from here.
        blocks: By block; those of absent blocks are without effect.
        depths: Of stages that `check_depth` accepts.
    """
    space = supernet.space
    ends = {chain_of(space, depth.column)[-1]: depth for depth in depths}
    results: list[Tensor] = []
    for block in range(len(space.blocks)):
        inputs = [results[source] for source in supernet.sources_of(block)] or [images]
        choice = _choice(space, block, row)
        result = _run(supernet, block, choice, inputs)
        if block in blocks and _is_present(space, block, row):
            gates = blocks[block]
            result = mixture(result, gates.gates, _Later(supernet, [(block, gates.other)], inputs))
        results.append(result)
        if block in ends:
            results[block] = _mixed_depths(supernet, row, ends[block], results)
    return results[-1]


def chain_of(space: SearchSpace, column: int) -> tuple[int, ...]:
    """Blocks that are there or not by a decision, in order."""
    name = space.decisions[column].name
    return tuple(
        index
        for index, block in enumerate(space.blocks)
        if block.present is not None and block.present.decision == name
    )


def check_depth(space: SearchSpace, column: int) -> None:
    """Check that a decision says nothing but after how many blocks of a chain a stage ends.

    Raises:
        SpaceError: It does more, or its blocks are no chain.
    """
    name = space.decisions[column].name
    chain = chain_of(space, column)
    minimums = [block.present.minimum for i in chain if (block := space.blocks[i]).present]
    readers: dict[str, list[int]] = {}
    for index in range(len(space.blocks)):
        for source in space.inputs_of(index):
            readers.setdefault(source, []).append(index)
    others = [
        block.name
        for block in space.blocks
        if name in block.reads.values() or name in block.shaped_by
    ]
    names = [space.blocks[index].name for index in chain]
    linked = all(
        space.inputs_of(after) == (before,) and readers[before] == [after]
        for before, after in zip(names, chain[1:], strict=False)
    )
    if others or not chain or not linked or minimums != sorted(minimums):
        what = f"shapes block {others[0]!r}" if others else "gates blocks that are no chain"
        raise SpaceError(
            f"proxyless on {space.name}: decision {name!r} {what}, so its options are no outputs "
            "that could be mixed; use proxyless-rl, which needs no mixture"
        )


class _Mixture(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, active: Tensor, gates: Tensor, other: Callable[[], Tensor]) -> Tensor:
        ctx.save_for_backward(active)
        ctx.other = other
        ctx.gates = gates.dtype, gates.device
        return active.view_as(active)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (active,) = ctx.saved_tensors
        with torch.no_grad():
            passive = ctx.other()
        ctx.other = None
        flat = grad.reshape(-1)
        products = [torch.dot(flat, output.reshape(-1)) for output in (active, passive)]
        dtype, device = ctx.gates
        return grad, torch.stack(products).to(device, dtype), None


class _Later:
    """Blocks in a row, run when called, from inputs that it lets go of afterwards."""

    def __init__(
        self, supernet: Supernet, chain: Sequence[tuple[int, Choice]], inputs: Sequence[Tensor]
    ) -> None:
        self._supernet = supernet
        self._chain = chain
        self._inputs = [value.detach() for value in inputs]

    def __call__(self) -> Tensor:
        values, self._inputs = self._inputs, []
        for block, choice in self._chain:
            values = [_run(self._supernet, block, choice, values)]
        return values[0]


def _mixed_depths(
    supernet: Supernet,
    row: npt.NDArray[np.uint8],
    depth: DepthGates,
    results: Sequence[Tensor],
) -> Tensor:
    """Output of a stage at its active depth; the other depth is further on, or was passed."""
    space = supernet.space
    chain = chain_of(space, depth.column)
    other = row.copy()
    other[depth.column] = depth.other
    last = chain[-1]
    if depth.other < row[depth.column]:
        kept = [block for block in chain if _is_present(space, block, other)]
        source = kept[-1] if kept else supernet.sources_of(chain[0])[0]
        later = _Later(supernet, [], [results[source]])
    else:
        more = [
            (block, _choice(space, block, other))
            for block in chain
            if _is_present(space, block, other) and not _is_present(space, block, row)
        ]
        later = _Later(supernet, more, [results[last]])
    return mixture(results[last], depth.gates, later)


def _run(supernet: Supernet, block: int, choice: Choice, inputs: Sequence[Tensor]) -> Tensor:
    plan = supernet.block_plan(block, choice)
    if plan.is_empty:
        return inputs[0]
    weights = {
        name: weight.detach() for name, weight in supernet.block_weights(block, choice).items()
    }
    return plan(inputs, weights, training=True)[0]


def _choice(space: SearchSpace, block: int, row: npt.NDArray[np.uint8]) -> Choice:
    return tuple(int(row[column]) for column in space.columns_of(block))


def _is_present(space: SearchSpace, block: int, row: npt.NDArray[np.uint8]) -> bool:
    present = space.blocks[block].present
    if present is None:
        return True
    column = space.columns_of(block)[0]
    option = space.decisions[column].options[int(row[column])]
    return isinstance(option, int) and option >= present.minimum
