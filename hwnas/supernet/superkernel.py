"""The superkernel network: the largest network of a space, in which indicators mask what is added.

Every step of a ladder (`hwnas.supernet.indicators`) has the indicator

    I(x) = 1[x >= 0],   x = ||W_region|| - t,   dI/dx = sigmoid'(x),

with one learned threshold t, 0 at the start (Stamoulis et al., Single-Path NAS, 2019, sec. 3.1,
and the authors' code; a norm is at least 0, so the search starts at the largest network). Steps of
a ladder are nested: the k-th has effect if it or one above it is taken, which is
`1 - (1 - I_k) (1 - I_k+1) ...`. So a ladder is left step by step from above. (In the other order,
`I_1 ... I_k`, the gradient of the lowest step holds the cost of all above it, and a stage falls
from three blocks to one at once.) Weights are those of the largest network and nothing else; a
step of training is one pass through it.

With hard indicators the result is that of the derived sub-net, exactly.

Differs from the paper:
- The norm is divided by the root of the number of filters, so that it is the root mean square norm
  of a filter's part and one scale fits all blocks: a plain norm of 14, that of 96 initial 3x3
  filters, has sigmoid'(14) = 8e-7 and no gradient reaches its threshold.
- Channels are not masked in the depthwise kernel but where they are read. Masked there, the
  normalisation behind it still adds its bias, and, dividing by the deviation, hides from the
  gradient how much the channels are worth.
- A skipped residual block has scale and bias of its last normalisation masked, so that its input
  passes unchanged.
- A channel's or block's norm is of the whole kernel, not of what the kernel's indicators leave:
  there, giving up a ring brings its block nearer to its own threshold.
- Any number of kernels and widths, squeeze-and-excitation (its factor s becomes 1 + I (s - 1)) and
  the depth of stages.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hwnas.errors import SpaceError
from hwnas.lowering.torch_module import TorchPlan, gate_name
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.indicators import OUTPUT, DecisionLadders, Region, find_ladders

__all__ = ["SuperkernelNetwork", "indicator"]

_Placed = tuple[str, int, tuple[int, ...]]
"""Name of a weight, index of the mask that multiplies it, and the shape that makes it fit."""
_LEAST = 1e-12  # added to squared norms: the root has no gradient at 0


def indicator(x: Tensor) -> Tensor:
    """1 where x is at least 0, and 0 elsewhere, with the gradient of the logistic function."""
    result: Tensor = _Indicator.apply(x)  # type: ignore[no-untyped-call]
    return result


class _Block(NamedTuple):
    """What runs for one block.

    Args:
        plan: The largest choice.
        sources: Blocks whose results it takes.
        weights: By name in the block.
        masked: Masks of its weights.
        output: Index of the gate between input and result; None without one.
    """

    plan: TorchPlan
    sources: tuple[int, ...]
    weights: dict[str, nn.Parameter]
    masked: tuple[_Placed, ...]
    output: int | None


class SuperkernelNetwork(nn.Module):
    """An elastic supernet's largest network under indicators.

    Args:
        supernet: Its weights are the network's.

    Attributes:
        thresholds: `(k,)`, one an indicator.
        decisions: Ladders of every decision; indicators stand in their order.

    Raises:
        SpaceError: Options of a decision are not parts of one another.
    """

    _indicator_of: Tensor
    _padded: Tensor
    _flat: Tensor
    _lower: Tensor
    _upper: Tensor
    _base: Tensor
    _spread: Tensor

    def __init__(self, supernet: ElasticSupernet) -> None:
        super().__init__()
        self.supernet = supernet
        self.space = supernet.space
        self.decisions: tuple[DecisionLadders, ...] = find_ladders(self.space)
        self._ladders = [ladder for found in self.decisions for ladder in found.ladders]
        lengths = [len(ladder.regions) for ladder in self._ladders]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.thresholds = nn.Parameter(torch.zeros(int(self._starts[-1])))
        self._sources: list[nn.Parameter] = []
        self._sizes: list[int] = []
        self._add_regions()
        self._add_ladders()
        self._add_blocks()

    def norms(self) -> Tensor:
        """Root mean square norms of the regions, `(k,)`."""
        parts = []
        for source, rows, columns in zip(
            self._sources, self._rows_of(), self._columns_of(), strict=True
        ):
            squares = source.reshape(len(source), -1).square()
            parts.append(((rows @ squares) * columns).sum(1))
        squared = torch.zeros_like(self.thresholds)
        if parts:
            squared = squared.index_add(0, self._indicator_of, torch.cat(parts))
        return (squared + _LEAST).sqrt()

    def indicators(self) -> Tensor:
        """Indicators `(k,)`: 1 or 0 in value."""
        return indicator(self.norms() - self.thresholds)

    def gates(self, indicators: Tensor) -> Tensor:
        """Whether each step or one above it on its ladder is taken, `(k,)`."""
        absent = torch.cat([1.0 - indicators, indicators.new_ones(1)])[self._padded]
        product = absent[:, 0]
        products = [product]
        for step in absent.unbind(1)[1:]:
            product = product * step
            products.append(product)
        return 1.0 - torch.stack(products, 1).reshape(-1)[self._flat]

    def probabilities(self, indicators: Tensor) -> list[Tensor]:
        """Weight of each option of each decision, `(k,)` a decision; the sum is 1.

        Linear in the gates of every ladder, so that expected costs are multilinear; at hard
        indicators one-hot.
        """
        gates = self.gates(indicators)
        padded = torch.cat([gates.new_ones(1), gates, gates.new_zeros(1)])
        weights = padded[self._lower] - padded[self._upper]
        of_ladders = list(torch.split(weights, self._levels))
        found = []
        for decision in self.decisions:
            taken = [of_ladders.pop(0) for _ in decision.ladders]
            found.append(_of_options(decision, taken, gates))
        return found

    def row(self, indicators: Tensor) -> npt.NDArray[np.uint8]:
        """The canonical architecture that hard indicators `(k,)` stand for, `(d,)`."""
        with torch.no_grad():
            chosen = [int(p.argmax()) for p in self.probabilities(indicators)]
        row: npt.NDArray[np.uint8] = self.space.canonicalise(np.array([chosen], np.uint8))[0]
        return row

    def forward(self, images: Tensor, indicators: Tensor) -> Tensor:
        """Logits `(n, classes)`; every batch normalisation uses the statistics of the batch.

        Args:
            images: `(n, c, h, w)`.
            indicators: `(k,)`.
        """
        flat = torch.addmv(self._base, self._spread, self.gates(indicators))
        masks = torch.split(flat, self._sizes)
        results: list[Tensor] = []
        for plan, sources, parameters, masked, output in self._blocks:
            inputs = [results[i] for i in sources] or [images]
            if plan.is_empty:
                results.append(inputs[0])
                continue
            weights: dict[str, Tensor] = dict(parameters)
            for local, index, shape in masked:
                mask = masks[index].view(shape)
                weights[local] = weights[local] * mask if local in weights else mask
            result = plan(inputs, weights, training=True)[0]
            if output is not None:
                result = inputs[0] + masks[output] * (result - inputs[0])
            results.append(result)
        return results[-1]

    # Private -----------------------------------------------------------------------------------

    def _add_regions(self) -> None:
        """Sum over rows and columns of squares, as products with constant matrices.

        Of each weight `rows (r, first axis)`, divided by the number of filters, and
        `columns (r, other axes)`; `indicator_of (r,)` says which indicator a region is of.
        """
        by_source: dict[tuple[int, str], list[tuple[int, Region, float]]] = {}
        for start, ladder in zip(self._starts, self._ladders, strict=False):
            for step, regions in enumerate(ladder.regions):
                filters = float(sum(region.rows.sum() for region in regions))
                for region in regions:
                    found = by_source.setdefault((region.block, region.local), [])
                    found.append((int(start) + step, region, filters))
        owners: list[int] = []
        for number, ((block, local), found) in enumerate(by_source.items()):
            self._sources.append(self._parameter(block, local))
            rows = np.stack([region.rows / filters for _, region, filters in found])
            columns = np.stack([region.columns for _, region, _ in found])
            self._constant(f"_rows{number}", rows.astype(np.float32))
            self._constant(f"_columns{number}", columns.astype(np.float32))
            owners += [owner for owner, _, _ in found]
        self._constant("_indicator_of", np.array(owners, dtype=np.int64))

    def _rows_of(self) -> list[Tensor]:
        return [self.get_buffer(f"_rows{i}") for i in range(len(self._sources))]

    def _columns_of(self) -> list[Tensor]:
        return [self.get_buffer(f"_columns{i}") for i in range(len(self._sources))]

    def _add_ladders(self) -> None:
        """Where gates and weights of levels stand; the highest step of a ladder comes first."""
        lengths = [len(ladder.regions) for ladder in self._ladders]
        longest = max(lengths, default=1)
        total = int(self._starts[-1])
        padded = np.full((max(1, len(lengths)), longest), total, dtype=np.int64)
        flat, lower, upper = [], [], []
        for number, (start, length) in enumerate(zip(self._starts, lengths, strict=False)):
            own = np.arange(start, start + length)
            padded[number, :length] = own[::-1]
            flat.append(number * longest + np.arange(length)[::-1])
            lower.append(np.concatenate([[0], own + 1]))  # 0 stands for a gate of 1
            upper.append(np.concatenate([own + 1, [total + 1]]))  # and the last for one of 0
        self._levels = [length + 1 for length in lengths]
        empty = [np.empty(0, dtype=np.int64)]
        self._constant("_padded", padded)
        self._constant("_flat", np.concatenate(flat or empty))
        self._constant("_lower", np.concatenate(lower or empty))
        self._constant("_upper", np.concatenate(upper or empty))

    def _add_blocks(self) -> None:
        """Plans, and all masks as one affine map of the gates: `base + spread @ gates`."""
        placed: dict[int, list[_Placed]] = {}
        base: list[npt.NDArray[np.float32]] = [np.empty(0, dtype=np.float32)]
        rows, columns = [], []
        for start, ladder in zip(self._starts, self._ladders, strict=False):
            for mask in ladder.masks:
                levels = mask.levels.reshape(-1)
                entries = np.flatnonzero(levels)
                rows.append(sum(self._sizes) + entries)
                columns.append(start + levels[entries] - 1)
                base.append((levels == 0).astype(np.float32))
                own = placed.setdefault(mask.block, [])
                own.append((mask.local, len(self._sizes), mask.levels.shape))
                self._sizes.append(levels.size)
        spread = np.zeros((sum(self._sizes), len(self.thresholds)), dtype=np.float32)
        if rows:
            spread[np.concatenate(rows), np.concatenate(columns)] = 1.0
        self._constant("_base", np.concatenate(base))
        self._constant("_spread", spread)
        self._blocks = [self._block(i, placed.get(i, [])) for i in range(len(self.space.blocks))]

    def _block(self, block: int, placed: Sequence[_Placed]) -> _Block:
        graph = self.space.fragment(block, self._largest(block)).graph
        plan = self.supernet.block_plan(block, self._largest(block))
        products = [node.name or "" for node in graph.nodes if node.op_type == "Mul"]
        named = {local for local, *_ in placed}
        gated = [name for name in products if gate_name(name) in named]
        if gated:
            plan = TorchPlan(graph, gated=gated)
        weights = {
            local: self._parameter(block, local)
            for local in plan.weight_shapes
            if local not in plan.statistics
        }
        output = next((index for local, index, _ in placed if local == OUTPUT), None)
        masked = tuple(
            (local, index, () if local not in weights else shape)
            for local, index, shape in placed
            if local != OUTPUT
        )
        return _Block(plan, self.supernet.sources_of(block), weights, masked, output)

    def _parameter(self, block: int, local: str) -> nn.Parameter:
        """The stored weight, which is that of the largest choice."""
        choice = self._largest(block)
        stored = self.supernet.stored_name(block, choice, local)
        parameter = self.supernet.shared_parameters()[stored]
        wanted = self.supernet.block_plan(block, choice).weight_shapes[local]
        if tuple(parameter.shape) != tuple(wanted):
            raise SpaceError(
                f"single-path on {self.space.name}: weight {stored!r} is {tuple(wanted)} in the "
                f"largest network and {tuple(parameter.shape)} in another; use nsga2"
            )
        return parameter

    def _largest(self, block: int) -> tuple[int, ...]:
        return tuple(int(self.space.option_counts[c]) - 1 for c in self.space.columns_of(block))

    def _constant(self, name: str, values: npt.NDArray[Any]) -> None:
        self.register_buffer(name, torch.from_numpy(values), persistent=False)


class _Indicator(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        logistic = torch.sigmoid(x)
        return grad * logistic * (1.0 - logistic)


def _of_options(decision: DecisionLadders, weights: Sequence[Tensor], like: Tensor) -> Tensor:
    """Weights of options from those of levels: products over ladders."""
    if not weights:
        return like.new_ones(1)
    if len(weights) == 1 and len(weights[0]) == len(decision.coordinates):
        return weights[0]
    found = []
    for coordinate in decision.coordinates:
        product = like.new_ones(())
        for level, of_levels in zip(coordinate, weights, strict=True):
            if level is not None:
                product = product * of_levels[level]
        found.append(product)
    return torch.stack(found)
