"""Architecture parameters of path-based methods: one softmax over the candidates of a place.

Decisions that one block reads and nothing else sees are taken together: their combinations are the
candidates of the block, as in ProxylessNAS (Cai et al., ICLR 2019), and have one joint softmax.
Every other decision, such as the depth of a stage, has a softmax of its own. So any space has such
a distribution, and an architecture is drawn by one draw a group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.errors import RunError
from hwnas.spaces import SearchSpace

__all__ = ["DecisionGroup", "Pair", "PathDistribution", "group_decisions"]

Pair = tuple[int, int]
Row = npt.NDArray[np.uint8]

INITIAL_DEVIATION = 1e-3  # of the parameters; Cai et al., released code


@dataclass(frozen=True)
class DecisionGroup:
    """Decisions that share one softmax.

    Args:
        name: Of the block or of the decision.
        columns: Of the decisions in populations.
        counts: Options of each.
        block: The block whose candidates these are; None for a decision by itself.
    """

    name: str
    columns: tuple[int, ...]
    counts: tuple[int, ...]
    block: int | None

    @property
    def size(self) -> int:
        """Number of candidates: all combinations of options."""
        return prod(self.counts)

    def options(self, candidate: int) -> tuple[int, ...]:
        """Option index of each decision; the first decision is most significant."""
        return tuple(int(i) for i in np.unravel_index(candidate, self.counts))


def group_decisions(space: SearchSpace) -> tuple[DecisionGroup, ...]:
    """Groups of all decisions with a choice, in the order of their first columns."""
    shaped: dict[str, list[int]] = {decision.name: [] for decision in space.decisions}
    for index, block in enumerate(space.blocks):
        for name in block.decisions:
            shaped[name].append(index)
    private: dict[int, list[int]] = {}
    groups = []
    for column, decision in enumerate(space.decisions):
        blocks = shaped[decision.name]
        count = len(decision.options)
        if count < 2:
            continue
        if len(blocks) == 1 and decision.name in space.blocks[blocks[0]].reads.values():
            private.setdefault(blocks[0], []).append(column)
        else:
            groups.append(DecisionGroup(decision.name, (column,), (count,), None))
    for index, columns in private.items():
        counts = tuple(int(space.option_counts[column]) for column in columns)
        groups.append(DecisionGroup(space.blocks[index].name, tuple(columns), counts, index))
    return tuple(sorted(groups, key=lambda group: group.columns))


class PathDistribution:
    """Independent softmax distributions over the candidates of every group.

    Args:
        space: The space.
        rng: Source of the parameters' start, normal with deviation 1e-3.

    Attributes:
        groups: The groups.
        parameters: Per group `(k,)` float64 on the CPU.
    """

    def __init__(self, space: SearchSpace, rng: np.random.Generator) -> None:
        self.space = space
        self.groups = group_decisions(space)
        self.parameters = [
            torch.from_numpy(rng.normal(0.0, INITIAL_DEVIATION, group.size)).requires_grad_()
            for group in self.groups
        ]
        self._factors, self._sizes = self._slot_factors()

    def probabilities(self) -> list[Tensor]:
        """Per group `(k,)`, differentiable."""
        return [parameter.softmax(0) for parameter in self.parameters]

    def pair_probabilities(self, pairs: Sequence[Pair]) -> list[Tensor]:
        """Per group `(k,)`: the softmax over the two candidates of its pair, 0 elsewhere."""
        found = []
        for parameter, pair in zip(self.parameters, pairs, strict=True):
            mask = torch.full_like(parameter, -torch.inf)
            mask[list(pair)] = 0.0
            found.append((parameter + mask).softmax(0))
        return found

    def sample(self, rng: np.random.Generator) -> list[int]:
        """One candidate of each group."""
        return [int(np.argmax(scores)) for scores in self._perturbed(rng)]

    def sample_uniformly(self, rng: np.random.Generator) -> list[int]:
        """One candidate of each group, all alike."""
        return [int(rng.integers(group.size)) for group in self.groups]

    def sample_pairs(self, rng: np.random.Generator) -> list[Pair]:
        """Two distinct candidates of each group, drawn one after the other without replacement.

        The two largest of log-probabilities with Gumbel noise are such a draw (Kool et al.,
        Stochastic Beams and Where to Find Them, ICML 2019), whatever has underflowed.
        """
        found = []
        for scores in self._perturbed(rng):
            first, second = np.argsort(-scores)[:2]
            found.append((int(first), int(second)))
        return found

    def row(self, candidates: Sequence[int]) -> Row:
        """Option indices `(d,)`, not canonical: what absent blocks would be is kept."""
        row = np.zeros(len(self.space.decisions), dtype=np.uint8)
        for group, candidate in zip(self.groups, candidates, strict=True):
            row[list(group.columns)] = group.options(candidate)
        return row

    def derive(self) -> Row:
        """The most likely candidate of each group, `(d,)`, canonical; ties go to the first."""
        most = [int(parameter.argmax()) for parameter in self.parameters]
        row: Row = self.space.canonicalise(self.row(most)[None])[0]
        return row

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """Log-probability of each option of each decision, `(k,)` a decision."""
        found = [np.zeros(int(count)) for count in self.space.option_counts]
        for group, parameter in zip(self.groups, self.parameters, strict=True):
            joint = parameter.detach().log_softmax(0).reshape(group.counts)
            for axis, column in enumerate(group.columns):
                others = [other for other in range(len(group.counts)) if other != axis]
                marginal = joint.logsumexp(others) if others else joint
                found[column] = marginal.numpy().copy()
        return found

    def log_probability(self, candidates: Sequence[int]) -> Tensor:
        """Of drawing these candidates; differentiable."""
        parts = [
            parameter.log_softmax(0)[candidate]
            for parameter, candidate in zip(self.parameters, candidates, strict=True)
        ]
        return torch.stack(parts).sum() if parts else torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def rescale(self, pairs: Sequence[Pair], before: Sequence[Tensor]) -> None:
        """Shift the pairs' parameters so that all other candidates keep their probabilities.

        What is subtracted from both is `ln[(e^i + e^k) / (e^i_before + e^k_before)]`.

        Args:
            pairs: Per group the two candidates that an optimiser has moved.
            before: Parameters before its step.
        """
        for parameter, pair, old in zip(self.parameters, pairs, before, strict=True):
            both = list(pair)
            parameter[both] -= parameter[both].logsumexp(0) - old[both].logsumexp(0)

    def slot_weights(self, probabilities: Sequence[Tensor]) -> list[Tensor]:
        """Joint weights of the slots of each block, `(slots,)`, for `expected_of_slots`.

        Args:
            probabilities: Per group `(k,)`.
        """
        one = torch.ones(1, dtype=torch.float64)
        flat = torch.cat([*probabilities, one])
        return list(torch.split(flat[self._factors].prod(0), self._sizes))

    def state(self) -> list[Tensor]:
        """Copies of the parameters."""
        return [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def restore(self, state: Sequence[Tensor]) -> None:
        """Take parameters back.

        Raises:
            RunError: They are those of another space.
        """
        found = [tuple(tensor.shape) for tensor in state]
        wanted = [tuple(parameter.shape) for parameter in self.parameters]
        if found != wanted:
            raise RunError(
                f"architecture parameters of another space: found shapes {found}, "
                f"{self.space.name} has {wanted}"
            )
        for parameter, tensor in zip(self.parameters, state, strict=True):
            parameter.copy_(tensor)

    # Private -----------------------------------------------------------------------------------

    def _perturbed(self, rng: np.random.Generator) -> list[npt.NDArray[np.float64]]:
        return [
            parameter.detach().numpy() + rng.gumbel(size=len(parameter))
            for parameter in self.parameters
        ]

    def _slot_factors(self) -> tuple[Tensor, list[int]]:
        """Where the factors of each slot stand in the joined probabilities, `(r, slots)`.

        The last index of all stands for a factor of 1.
        """
        starts = np.concatenate([[0], np.cumsum([group.size for group in self.groups])]).tolist()
        group_of = {column: g for g, group in enumerate(self.groups) for column in group.columns}
        rows: list[list[int]] = []
        sizes = []
        for block in range(len(self.space.blocks)):
            columns = self.space.columns_of(block)
            involved = sorted({group_of[column] for column in columns if column in group_of})
            choices = list(self.space.slots(block))
            sizes.append(len(choices))
            for choice in choices:
                chosen = dict(zip(columns, choice, strict=True))
                rows.append([starts[g] + _candidate(self.groups[g], chosen) for g in involved])
        arity = max(map(len, rows), default=0)
        padded = [row + [starts[-1]] * (max(arity, 1) - len(row)) for row in rows]
        return torch.tensor(padded).T.contiguous(), sizes


def _candidate(group: DecisionGroup, chosen: Mapping[int, int]) -> int:
    options: Any = tuple(chosen[column] for column in group.columns)
    return int(np.ravel_multi_index(options, group.counts))
