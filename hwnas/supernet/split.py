"""The split supernet: several supernets, each responsible for a part of the space.

Zhao et al., Few-shot Neural Architecture Search, ICML 2021. A part is a box: it allows some
options of each decision. The parts of a split supernet hold every architecture exactly once.

A decision that can be inactive has option 0 in canonical form, which says nothing about the
network. So a part restricts a decision only where it is active in all networks of the part (the
third block's kernel, for example, only where the depth is 3). Then a network has one part,
whatever stands in its inactive decisions, and drawing inside a part never leaves it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from hwnas.errors import RunError, SpaceError
from hwnas.lowering.torch_module import Normalise, TorchPlan
from hwnas.spaces import Architecture, Population, SearchSpace
from hwnas.supernet.sharing import supernet_class
from hwnas.supernet.supernet import Choice, Supernet

__all__ = ["Part", "SplitSupernet"]


@dataclass(frozen=True, eq=False)
class Part:
    """The architectures of a space that take allowed options.

    Args:
        space: The space.
        allowed: Option indices of the restricted decisions, ascending; all others are free.

    Raises:
        SpaceError: A decision is unknown, has no such option or none left, or is inactive in some
            architectures of the part.
    """

    space: SearchSpace
    allowed: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        counts = {d.name: len(d.options) for d in self.space.decisions}
        for name, options in self.allowed.items():
            known = range(counts.get(name, 0))
            if not options or list(options) != sorted({*options} & {*known}):
                raise SpaceError(
                    f"a part of {self.space.name} allows options {options} of decision {name!r}, "
                    f"which has {len(known)}; give some of them in ascending order"
                )
        for column, decision in enumerate(self.space.decisions):
            if decision.name in self.allowed and not self._is_always_active(column):
                raise SpaceError(
                    f"a part of {self.space.name} restricts decision {decision.name!r}, which is "
                    "inactive in some of its architectures; restrict the decision that governs "
                    "its block first"
                )

    @cached_property
    def options(self) -> tuple[tuple[int, ...], ...]:
        """Allowed option indices of every decision."""
        return tuple(
            self.allowed.get(decision.name, tuple(range(len(decision.options))))
            for decision in self.space.decisions
        )

    def rows(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` rows, every decision uniform over what it may be, `(n, d)`.

        Not in canonical form: inactive decisions hold options too, which count as soon as another
        option of the decision that governs them is put in.
        """
        counts = [len(options) for options in self.options]
        drawn = rng.integers(0, counts, size=(n, len(counts)))
        columns = [np.array(o, dtype=np.uint8)[drawn[:, i]] for i, o in enumerate(self.options)]
        return np.stack(columns, axis=1)

    def divisible(self) -> tuple[str, ...]:
        """Decisions with two options or more that are active in all architectures of the part."""
        return tuple(
            decision.name
            for column, decision in enumerate(self.space.decisions)
            if len(self.options[column]) > 1 and self._is_always_active(column)
        )

    def restricted(self, decision: str, options: Sequence[int]) -> "Part":
        """The part of this part in which a decision takes one of the given options."""
        return Part(self.space, {**self.allowed, decision: tuple(sorted(options))})

    def holds(self, indices: Sequence[int]) -> bool:
        """Whether the architecture of these option indices is in the part."""
        return all(indices[column] in allowed for column, allowed in self._tests)

    @cached_property
    def _tests(self) -> tuple[tuple[int, frozenset[int]], ...]:
        return tuple(
            (column, frozenset(self.allowed[decision.name]))
            for column, decision in enumerate(self.space.decisions)
            if decision.name in self.allowed
        )

    def _is_always_active(self, column: int) -> bool:
        """Whether no option of another decision makes a decision inactive.

        One other decision at a time is enough: what governs a decision forms a chain, and one
        link that fails makes it inactive.
        """
        last = np.array([options[-1] for options in self.options], dtype=np.uint8)
        last[column] = self.space.option_counts[column] - 1  # canonical form would make it 0
        rows: list[npt.NDArray[np.uint8]] = []
        for other, options in enumerate(self.options):
            if other != column:
                rows += [np.where(np.arange(len(last)) == other, o, last) for o in options]
        if not rows or not last[column]:
            return True
        canonical = self.space.canonicalise(np.stack(rows).astype(np.uint8))
        return bool((canonical[:, column] == last[column]).all())


class SplitSupernet(Supernet):
    """Supernets that share nothing among each other; an architecture runs in that of its part.

    Args:
        space: The space.
        members: Supernets of the space.
        parts: What each of them is responsible for.

    Raises:
        SpaceError: The parts do not hold every architecture exactly once.
    """

    sharing = "split"

    def __init__(
        self, space: SearchSpace, members: Sequence[Supernet], parts: Sequence[Part]
    ) -> None:
        nn.Module.__init__(self)  # the weights are those of the members
        _check_partition(space, parts)
        if len(members) != len(parts):
            raise SpaceError(
                f"{len(members)} supernets cannot have {len(parts)} parts; give one each"
            )
        self.space = space
        self.parts = tuple(parts)
        self.members: Sequence[Supernet] = nn.ModuleList(members)  # type: ignore[assignment]

    def member_of(self, architecture: Architecture) -> int:
        """Index of the member whose part an architecture is in.

        Raises:
            SpaceError: The architecture is of another space.
        """
        if architecture.space != self.space.name:
            raise SpaceError(
                f"architecture of {architecture.space!r} given to a supernet of "
                f"{self.space.name!r}"
            )
        indices = architecture.indices
        return next(i for i, part in enumerate(self.parts) if part.holds(indices))

    def forward(
        self,
        x: Tensor,
        architecture: Architecture,
        *,
        statistics: Mapping[str, Tensor] | None = None,
        normalise: Normalise | None = None,
    ) -> Tensor:
        """Result of one sub-net in its member, `(n, classes)`; see `Supernet.forward`."""
        member = self.members[self.member_of(architecture)]
        found: Tensor = member(x, architecture, statistics=statistics, normalise=normalise)
        return found

    def weights(
        self, architecture: Architecture, statistics: Mapping[str, Tensor] | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Copies of a sub-net's weights in its member; see `Supernet.weights`."""
        return self.members[self.member_of(architecture)].weights(architecture, statistics)

    def block_plan(self, block: int, choice: Choice) -> TorchPlan:
        """What a block runs for one choice; the same in all members."""
        return self.members[0].block_plan(block, choice)

    def block_weights(self, block: int, choice: Choice) -> dict[str, Tensor]:
        """Not defined: which member a block's weights are in depends on the whole architecture.

        Raises:
            SpaceError: Always.
        """
        raise SpaceError(
            f"weights of block {self.space.blocks[block].name!r} asked for choice {choice}: in a "
            f"split supernet they differ between its {len(self.members)} members; ask the one of "
            "`member_of(architecture)`"
        )

    def sources_of(self, block: int) -> tuple[int, ...]:
        """Indices of the blocks whose results a block takes; none for the input block."""
        return self.members[0].sources_of(block)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """The stored weights as `member/name`."""
        return {
            f"{index}/{name}": parameter
            for index, member in enumerate(self.members)
            for name, parameter in member.shared_parameters().items()
        }

    def structure(self) -> dict[str, Any]:
        """The parts, and the structure of every member."""
        return {
            "members": [
                {
                    "part": {name: list(options) for name, options in part.allowed.items()},
                    "sharing": member.sharing,
                    "structure": member.structure(),
                }
                for member, part in zip(self.members, self.parts, strict=True)
            ]
        }

    @classmethod
    def from_structure(cls, space: SearchSpace, structure: Mapping[str, Any]) -> Self:
        """A split supernet of that structure, to be filled from a checkpoint.

        Raises:
            RunError: The structure does not fit the space.
        """
        try:
            found = list(structure["members"])
            parts = [
                Part(space, {str(k): tuple(map(int, v)) for k, v in m["part"].items()})
                for m in found
            ]
            _check_partition(space, parts)  # before memory is taken for members
            members = [
                supernet_class(m["sharing"]).from_structure(space, m["structure"]) for m in found
            ]
            return cls(space, members, parts)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"the checkpoint's split supernet does not fit {space.name}: {error}; train anew"
            ) from error


def _check_partition(space: SearchSpace, parts: Sequence[Part]) -> None:
    for (i, a), (j, b) in combinations(enumerate(parts), 2):
        if all(set(x) & set(y) for x, y in zip(a.options, b.options, strict=True)):
            raise SpaceError(f"parts {i} and {j} of {space.name} hold architectures in common")
    held = sum(prod(map(len, part.options)) for part in parts)
    total = prod(len(decision.options) for decision in space.decisions)
    if held != total:
        raise SpaceError(
            f"{len(parts)} parts hold {held} of the {total} rows of {space.name}; every "
            "architecture needs a part"
        )
