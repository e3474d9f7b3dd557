"""Expected costs of a distribution over architectures, differentiable with torch.

The slot of a block is a product of one-hot vectors, one a decision, so the cost of a network is
multilinear in the one-hot vectors of its decisions. Put probabilities in their place and the same
form is the expected cost, exactly, as long as decisions are drawn independently:

    E[cost] = constant + sum_b sum_s slots_b[s] * prod_r p_(b,r)[s_r]

with s_r the option that slot s of block b has for the block's decision r. Wu et al., FBNet, CVPR
2019, eq. 4 and Cai et al., ProxylessNAS, ICLR 2019, eq. 5 are the case of one decision a block;
Stamoulis et al., Single-Path NAS, 2019, sec. 3.3 is a product form of three binary ones.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.costs.compiled import CompiledCosts
from hwnas.errors import SpaceError

__all__ = ["DifferentiableCosts"]

_Columns = tuple[int, ...]
_Slots = npt.NDArray[np.float64]


class DifferentiableCosts:
    """The additive metrics of compiled costs as torch tensors.

    A decision that shapes only absent blocks has no influence and gets no gradient from there:
    the slots of an absent block are equal whatever its other decisions say.

    Args:
        compiled: The costs.
        metrics: Which of its metrics, m of them; by default every additive one.
        device: Where to compute.
        dtype: Type to compute in. Costs are small numbers next to a task loss; float64 costs
            nothing at these sizes, and autocast leaves it alone.

    Raises:
        SpaceError: A metric is not among the compiled ones or is no sum over blocks, such as
            `memory_bytes`, there is no metric left, or a slot is not finite.
    """

    def __init__(
        self,
        compiled: CompiledCosts,
        metrics: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.space = compiled.space
        self.metrics = _additive(compiled, metrics)
        self.device = torch.device(device)
        self.dtype = dtype
        columns = [compiled.metrics.index(metric) for metric in self.metrics]
        slots = [np.ascontiguousarray(block[:, columns]) for block in compiled.slots]
        for block, found in zip(self.space.blocks, slots, strict=True):
            if not np.isfinite(found).all():
                raise SpaceError(f"block {block.name!r} has a slot without a cost; profile it")
        self._counts = tuple(int(count) for count in self.space.option_counts)
        self._constant = self._tensor(compiled.constant[columns])
        self._sizes = tuple(map(len, slots))
        self._all_slots = self._tensor(np.concatenate(slots))
        self._one = torch.ones(1, dtype=dtype, device=self.device)
        merged = _merged(compiled, slots)
        fixed = sum((value[0] for key, value in merged.items() if not key), np.zeros(len(columns)))
        self._fixed = self._constant + self._tensor(fixed)
        factors, table = _factors(
            {key: value for key, value in merged.items() if key}, self._counts, len(columns)
        )
        self._factors = tuple(torch.as_tensor(f, device=self.device) for f in factors)
        self._table = self._tensor(table)

    def expected(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Expected cost under independent decisions, `(m,)` in SI units.

        At one-hot vectors it is `CompiledCosts.cost` of that architecture.

        Args:
            probabilities: Per decision `(k,)`, one entry an option: probabilities, or a relaxed
                or straight-through one-hot vector. They are not normalised here.

        Raises:
            SpaceError: Wrong number of tensors, or one of another shape.
        """
        shapes = [tuple(p.shape) for p in probabilities]
        if shapes != [(count,) for count in self._counts]:
            raise SpaceError(self._wrong_shapes(shapes))
        if not self._factors:
            return self._fixed.clone()
        flat = torch.cat([*probabilities, self._one]).to(self._table)
        weights = flat[self._factors[0]]
        for factor in self._factors[1:]:
            weights = weights * flat[factor]
        return self._fixed + weights @ self._table

    def expected_of_slots(self, weights: Mapping[int, Tensor] | Sequence[Tensor | None]) -> Tensor:
        """Expected cost under a joint distribution over the slots of each block, `(m,)`.

        For methods that hold one distribution over the candidates of a block.

        Args:
            weights: Block index to `(slots,)` weights in the order of `SearchSpace.slots`. A block
                with a single slot may be left out or `None`.

        Raises:
            SpaceError: A block is missing or unknown, or weights have another shape.
        """
        given = weights if isinstance(weights, Mapping) else dict(enumerate(weights))
        unknown = sorted(set(given) - set(range(len(self._sizes))))
        if unknown:
            raise SpaceError(f"{self.space.name} has no block number {unknown[0]}")
        parts = []
        for index, size in enumerate(self._sizes):
            weight = given.get(index)
            if weight is None and size == 1:
                weight = self._one
            if weight is None or tuple(weight.shape) != (size,):
                found = "none" if weight is None else f"shape {tuple(weight.shape)}"
                raise SpaceError(
                    f"weights of block {self.space.blocks[index].name!r}: expected ({size},), "
                    f"found {found}"
                )
            parts.append(weight)
        return self._constant + torch.cat(parts).to(self._all_slots) @ self._all_slots

    def _tensor(self, values: _Slots) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def _wrong_shapes(self, shapes: list[tuple[int, ...]]) -> str:
        if len(shapes) != len(self._counts):
            return (
                f"{self.space.name} has {len(self._counts)} decisions, "
                f"found probabilities of {len(shapes)}"
            )
        pairs = zip(self.space.decisions, shapes, self._counts, strict=True)
        name, found, count = next((d.name, s, c) for d, s, c in pairs if s != (c,))
        return f"probabilities of decision {name!r}: expected ({count},), found {found}"


def _additive(compiled: CompiledCosts, metrics: Sequence[str] | None) -> tuple[str, ...]:
    reductions = dict(zip(compiled.metrics, compiled.reductions, strict=True))
    if metrics is None:
        metrics = [metric for metric, reduction in reductions.items() if reduction == "sum"]
    for metric in metrics:
        if metric not in reductions:
            raise SpaceError(f"no costs of {metric!r}; available: {', '.join(compiled.metrics)}")
        if reductions[metric] != "sum":
            raise SpaceError(
                f"{metric} is a maximum over blocks, not a sum, so it has no expectation that "
                "follows from the slots; keep its budget by feasibility"
            )
    if not metrics:
        raise SpaceError("no metric that is a sum over blocks; compile latency_s or energy_j")
    return tuple(metrics)


def _merged(compiled: CompiledCosts, slots: Sequence[_Slots]) -> dict[_Columns, _Slots]:
    """Blocks that read decisions of a larger block join it; columns to `(k1 * ... * kr, m)`.

    Fewer slots to weigh: image size and depth are often read by blocks that read nothing else.
    """
    space = compiled.space
    counts = space.option_counts
    merged: dict[_Columns, _Slots] = {}
    order = sorted(range(len(slots)), key=lambda b: -len(space.columns_of(b)))
    for block in order:
        columns = space.columns_of(block)
        key = next((k for k in merged if k and set(columns) <= set(k)), columns)
        if key not in merged:
            merged[key] = slots[block].copy()
            continue
        tensor = slots[block].reshape(*(int(counts[c]) for c in columns), -1)
        kept = [c for c in key if c in columns]
        tensor = np.moveaxis(tensor, [columns.index(c) for c in kept], range(len(kept)))
        shape = [int(counts[c]) if c in columns else 1 for c in key]
        whole = merged[key].reshape(*(int(counts[c]) for c in key), -1)
        merged[key] = (whole + tensor.reshape(*shape, -1)).reshape(len(merged[key]), -1)
    return merged


def _factors(
    merged: Mapping[_Columns, _Slots], counts: Sequence[int], metrics: int
) -> tuple[list[npt.NDArray[np.int64]], _Slots]:
    """Where the factors of each slot stand among the joined probabilities, and the slots.

    Returns:
        Per position r of a decision in its block `(s,)` indices, the last index of all standing
        for a factor of 1; and the slots of all blocks `(s, m)`. Slots that cost nothing are left
        out.
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    arity = max(map(len, merged), default=0)
    indices, tables = [np.empty((arity, 0), np.int64)], [np.empty((0, metrics))]
    for columns, slots in merged.items():
        sizes = [counts[column] for column in columns]
        options = np.unravel_index(np.arange(prod(sizes)), sizes)
        rows = np.full((arity, len(slots)), starts[-1], np.int64)
        for position, (column, option) in enumerate(zip(columns, options, strict=True)):
            rows[position] = starts[column] + option
        costly = (slots != 0).any(axis=1)
        indices.append(rows[:, costly])
        tables.append(slots[costly])
    return list(np.concatenate(indices, axis=1)), np.concatenate(tables)
