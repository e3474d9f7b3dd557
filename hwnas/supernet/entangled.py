"""The entangled network: one operation a block, whose weights are a mixture of all options'.

Sukthanker et al., TangleNAS: Weight-Entanglement Meets Gradient-Based Neural Architecture Search,
2023. Options of a block are slices of shared weights W. With weights a_i of the options the block
runs once, with

    W_mix = sum_i a_i pad(slice_i(W)) = W * sum_i a_i mask_i,

so a pass costs as much as one of the largest network, however many options there are. Decisions
are independent, so the weight of a combination of options is the product over its decisions.

What has no weights is mixed in its output: a block that may be absent or skipped hands on
`(1 - p) x + p block(x)`, with p the weight of all choices in which it is there, and a factor s
such as squeeze-and-excitation makes x to `(1 - p) x + p x s`. Weights that only some choices have
are mixed over those choices alone. What belongs to what follows from the graphs of the options; no
name is looked at.

With weights of 0 and 1 the result is that of the sub-net, exactly.
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hwnas.errors import SpaceError
from hwnas.graph import Shape, shape_of
from hwnas.lowering.torch_module import TorchPlan, gate_name
from hwnas.spaces import SearchSpace
from hwnas.supernet.concatenated import concatenated_weights
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.nested_options import left_out_factors
from hwnas.supernet.supernet import Choice
from hwnas.supernet.view import sub_slices

__all__ = ["EntangledNetwork"]

_LEAST = 1e-12  # smallest divisor: choices that all have weight 0 are mixed to 0
_Flags = npt.NDArray[np.bool_]


class _Mask(NamedTuple):
    """Parts of weights that grow alike.

    Args:
        choices: `(r, s)` which slots take part r; a slot without the weights takes none.
        parts: `(r, m)` entries of each part.
        weights: By name in the block, the shape in which the m entries multiply it.
    """

    choices: _Flags
    parts: _Flags
    weights: dict[str, Shape]


class _Block(NamedTuple):
    """What runs for one block.

    Args:
        plan: Its largest choice.
        sources: Blocks whose results it takes.
        columns: Its decisions.
        weights: By name in the block.
        masks: Of each mask the weights that it multiplies, and in which shape.
        lengths: Parts of the quantities that are mixed: one for each gate, then those of masks.
        gates: Names of the weights that gate factors.
        is_optional: Whether some choice hands the input through.
    """

    plan: TorchPlan
    sources: tuple[int, ...]
    columns: tuple[int, ...]
    weights: dict[str, nn.Parameter]
    masks: tuple[dict[str, Shape], ...]
    lengths: tuple[int, ...]
    gates: tuple[str, ...]
    is_optional: bool


class EntangledNetwork(nn.Module):
    """An elastic supernet in which every decision is a mixture of its options.

    Args:
        supernet: Its weights are the network's, and its only parameters.

    Raises:
        SpaceError: The options of a block are no parts of its largest choice, or a decision
            changes the shapes between blocks.
    """

    def __init__(self, supernet: ElasticSupernet) -> None:
        super().__init__()
        self.supernet = supernet
        self.space = supernet.space
        for block in self.space.blocks:
            for name in block.shaped_by:
                if len(next(d for d in self.space.decisions if d.name == name).options) > 1:
                    raise _refused(self.space, f"decision {name!r} shapes whole networks")
        self._blocks = [self._block(index) for index in range(len(self.space.blocks))]

    def forward(self, images: Tensor, probabilities: Sequence[Tensor]) -> Tensor:
        """Logits `(n, classes)`; every batch normalisation uses the statistics of the batch.

        Args:
            images: `(n, c, h, w)`.
            probabilities: Per decision `(k,)` weights of its options.
        """
        taken = [p.to(images) for p in probabilities]
        results: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            inputs = [results[source] for source in block.sources] or [images]
            if block.plan.is_empty:
                results.append(inputs[0])
                continue
            weights: dict[str, Tensor] = dict(block.weights)
            present = None
            if block.columns:
                present = self._mix(index, block, weights, [taken[c] for c in block.columns])
            result = block.plan(inputs, weights, training=True)[0]
            if block.is_optional and present is not None:
                result = torch.lerp(inputs[0], result, present)
            results.append(result)
        return results[-1]

    # Private -----------------------------------------------------------------------------------

    def _mix(
        self, index: int, block: _Block, weights: dict[str, Tensor], taken: list[Tensor]
    ) -> Tensor:
        """Put mixed weights and gates in place; the weight of the block being there, a scalar."""
        slots = reduce(lambda a, b: (a[:, None] * b).reshape(-1), taken)
        shares = self.get_buffer(f"_shares{index}") @ slots
        totals = self.get_buffer(f"_totals{index}") @ slots
        shares = shares / totals.clamp(min=_LEAST)
        present = slots @ self.get_buffer(f"_there{index}")
        mixed = torch.split(shares, list(block.lengths))
        weights.update(zip(block.gates, mixed, strict=False))
        for number, (masked, share) in enumerate(
            zip(block.masks, mixed[len(block.gates) :], strict=True)
        ):
            mask = share @ self.get_buffer(f"_parts{index}_{number}")
            for name, shape in masked.items():
                weights[name] = weights[name] * mask.view(shape)
        return present

    def _block(self, index: int) -> _Block:
        space, columns = self.space, self.space.columns_of(index)
        choices = list(space.slots(index))
        largest = choices[-1]
        plan = self.supernet.block_plan(index, largest)
        there = np.array([not space.fragment(index, choice).is_empty for choice in choices])
        sources = self.supernet.sources_of(index)
        if not there.any():
            if not sources and len(choices) > 1:
                raise _refused(space, f"block {space.blocks[index].name!r} chooses the input")
            return _Block(plan, sources, columns, {}, (), (), (), is_optional=False)
        factors = self._factors(index, choices, there)
        gated = sorted(set().union(*(found for found in factors if found is not None)))
        if gated:
            plan = TorchPlan(space.fragment(index, largest).graph, gated=gated)
        without = [[found is not None and node in found for found in factors] for node in gated]
        masks = self._masks(index, choices, there)
        self._add_constants(index, there, np.array(without, bool).reshape(-1, len(there)), masks)
        weights = {
            name: self._parameter(index, largest, name)
            for name in plan.weight_shapes
            if name not in plan.statistics
        }
        return _Block(
            plan,
            sources,
            columns,
            weights,
            tuple(mask.weights for mask in masks),
            (*(1 for _ in gated), *(len(mask.parts) for mask in masks)),
            tuple(map(gate_name, gated)),
            is_optional=not there.all(),
        )

    def _factors(
        self, index: int, choices: Sequence[Choice], there: _Flags
    ) -> list[frozenset[str] | None]:
        """Of each choice, the factors of the largest one that it leaves out; None if absent."""
        space, name = self.space, self.space.blocks[index].name
        whole = space.fragment(index, choices[-1]).graph
        if not there[-1]:
            raise _refused(space, f"the last choice of block {name!r} does nothing")
        if not there.all() and shape_of(whole.inputs[0]) != shape_of(whole.outputs[0]):
            raise _refused(space, f"block {name!r} can be left out but changes shapes")
        known: dict[int, frozenset[str] | None] = {}
        found: list[frozenset[str] | None] = []
        for choice, is_there in zip(choices, there, strict=True):
            if not is_there:
                found.append(None)
                continue
            graph = space.fragment(index, choice).graph
            if id(graph) not in known:
                left_out = left_out_factors(graph.outputs[0], whole.outputs[0])
                if left_out is None or shape_of(graph.outputs[0]) != shape_of(whole.outputs[0]):
                    raise _refused(
                        space, f"choice {choice} of block {name!r} is no part of its last one"
                    )
                known[id(graph)] = left_out
            found.append(known[id(graph)])
        return found

    def _masks(self, index: int, choices: Sequence[Choice], there: _Flags) -> list[_Mask]:
        """Masks of all weights whose shape is not the same in all choices that have them."""
        plans = [self.supernet.block_plan(index, choice) for choice in choices]
        side_by_side = concatenated_weights(self.space.fragment(index, choices[-1]).graph)
        masks: dict[tuple[bytes, bytes, Shape], _Mask] = {}
        for name, largest in plans[-1].weight_shapes.items():
            if name in plans[-1].statistics:
                continue
            shapes = [
                plan.weight_shapes.get(name) if is_there else None
                for plan, is_there in zip(plans, there, strict=True)
            ]
            distinct = list(dict.fromkeys(shape for shape in shapes if shape is not None))
            if len(distinct) < 2:
                continue
            if name in side_by_side:
                raise _refused(self.space, f"weight {name!r} reads maps that are joined")
            takes = np.array([[shape == part for shape in shapes] for part in distinct])
            # Axes on which all parts are whole need no entries of their own.
            varies = [len(set(sides)) > 1 for sides in zip(*distinct, strict=True)]
            shape = tuple(s if v else 1 for s, v in zip(largest, varies, strict=True))
            parts: _Flags = np.zeros((len(distinct), *shape), dtype=np.bool_)
            for row, part in zip(parts, distinct, strict=True):
                cut = tuple(s if v else 1 for s, v in zip(part, varies, strict=True))
                row[sub_slices(shape, cut) or ...] = True
            flat = parts.reshape(len(distinct), -1)
            key = (takes.tobytes(), flat.tobytes(), flat.shape)
            if key not in masks:
                masks[key] = _Mask(takes, flat, {})
            masks[key].weights[name] = shape
        return list(masks.values())

    def _add_constants(
        self, index: int, there: _Flags, without: _Flags, masks: Sequence[_Mask]
    ) -> None:
        """What `_mix` multiplies by.

        `there (s,)`; `shares` and `totals (q, s)`: slots that a quantity is in, and those that it
        could be in, gates before parts of masks; `parts (r, m)` of each mask.
        """
        shares, totals = [there & ~without], [there[None].repeat(len(without), 0)]
        for number, mask in enumerate(masks):
            shares.append(mask.choices)
            could = np.any(mask.choices, axis=0, keepdims=True)
            totals.append(could.repeat(len(mask.choices), 0))
            self._add_constant(f"_parts{index}_{number}", mask.parts)
        self._add_constant(f"_there{index}", there)
        self._add_constant(f"_shares{index}", np.concatenate(shares))
        self._add_constant(f"_totals{index}", np.concatenate(totals))

    def _add_constant(self, name: str, flags: _Flags) -> None:
        constant = torch.from_numpy(flags.astype(np.float32))
        self.register_buffer(name, constant, persistent=False)

    def _parameter(self, index: int, choice: Choice, local: str) -> nn.Parameter:
        """The stored weight, which must be that of the largest choice."""
        stored = self.supernet.stored_name(index, choice, local)
        parameter = self.supernet.shared_parameters()[stored]
        wanted = self.supernet.block_plan(index, choice).weight_shapes[local]
        if tuple(parameter.shape) != tuple(wanted):
            raise _refused(
                self.space,
                f"weight {stored!r} is {tuple(parameter.shape)} in some choice and "
                f"{tuple(wanted)} in the largest one",
            )
        return parameter


def _refused(space: SearchSpace, what: str) -> SpaceError:
    return SpaceError(
        f"tangle-nas on {space.name}: {what}; weights are entangled only where options are parts "
        "of one another; use proxyless-rl, or darts for spaces of cells"
    )
