"""Where to split a supernet: the decision whose options disagree most, and its options in halves.

Hu et al., Generalizing Few-Shot NAS with Gradient Matching, ICLR 2022. Options that pull shared
weights the same way may share them, options that disagree should not. What disagreement is, is
given as distances between the options of a decision (`gradient_matching`,
`intrinsic_dimension`); here they become a split.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from hwnas.errors import SpaceError
from hwnas.spaces import Architecture
from hwnas.supernet.split import Part, SplitSupernet
from hwnas.supernet.supernet import Supernet

__all__ = [
    "Bipartition",
    "Distances",
    "Halves",
    "Measure",
    "bipartition",
    "most_distant_halves",
    "random_halves",
    "split_supernet",
]

log = logging.getLogger(__name__)

MAX_OPTIONS = 16  # 12,870 balanced bipartitions; more are not enumerated

Distances = npt.NDArray[np.float64]
"""Symmetric `(k, k)` of at least 0, the diagonal 0."""
Measure = Callable[[Sequence[Architecture]], Distances]
"""Distances between sub-nets that differ in the option of one decision."""
Choose = Callable[[Supernet, Part], "Halves"]


@dataclass(frozen=True)
class Bipartition:
    """Options in two groups.

    Args:
        groups: Positions, each ascending, the group of the first option first.
        within: Sum of the distances of pairs inside a group.
        between: Sum of the distances of all other pairs, which is total minus within.
    """

    groups: tuple[tuple[int, ...], tuple[int, ...]]
    within: float
    between: float


@dataclass(frozen=True)
class Halves:
    """A way to split a part of a space in two.

    Args:
        decision: The decision that is split.
        groups: Its option indices in two groups.
        score: Mean distance between options of different groups; NaN where nothing was measured.
    """

    decision: str
    groups: tuple[tuple[int, ...], tuple[int, ...]]
    score: float


def bipartition(distances: Distances) -> Bipartition:
    """The balanced bipartition with the least distance within the groups, by enumeration.

    Group sizes differ by at most one. The first of equally good ones in lexicographic order wins.

    Args:
        distances: `(k, k)`, k from 2 to `MAX_OPTIONS`.

    Raises:
        SpaceError: Another number of options, not symmetric, or not finite.
    """
    count = len(distances)
    if not 2 <= count <= MAX_OPTIONS:
        raise SpaceError(f"{count} options cannot be halved; 2 to {MAX_OPTIONS} can")
    if not np.isfinite(distances).all():
        raise SpaceError("distances between options are not finite: training has diverged")
    if distances.shape != (count, count) or not np.allclose(distances, distances.T):
        raise SpaceError(f"distances of shape {distances.shape} are not a symmetric matrix")
    best: Bipartition | None = None
    for size in sorted({count // 2, count - count // 2}, reverse=True):
        for rest in combinations(range(1, count), size - 1):
            first = (0, *rest)
            second = tuple(i for i in range(count) if i not in first)
            between = float(distances[np.ix_(first, second)].sum())
            if best is None or between > best.between:
                best = Bipartition((first, second), float(distances.sum()) / 2 - between, between)
    assert best is not None
    return best


def most_distant_halves(
    part: Part, measure: Measure, contexts: int, rng: np.random.Generator
) -> Halves:
    """Split the decision whose groups are furthest apart.

    Distances of the options of every decision are averaged over random contexts: rows of the part
    in which all other decisions are drawn anew.

    Differs from the paper: decisions are compared by the mean distance between groups, not by its
    sum, for they have different numbers of options here (the order is the same where they have
    the same number); decisions that are inactive somewhere in the part, or have more than
    `MAX_OPTIONS` options, are no candidates.

    Args:
        part: What is split.
        measure: Distances between sub-nets.
        contexts: How often.
        rng: Draws contexts.

    Raises:
        SpaceError: No decision of the part can be split.
    """
    found: list[Halves] = []
    space = part.space
    names = [decision.name for decision in space.decisions]
    for name in _candidates(part):
        column = names.index(name)
        options = part.options[column]
        total = np.zeros((len(options), len(options)))
        for row in part.rows(contexts, rng):
            rows = np.repeat(row[None], len(options), axis=0)
            rows[:, column] = options
            total += measure([space.architecture(each) for each in rows])
        halved = bipartition(total / contexts)
        first, second = (tuple(options[i] for i in group) for group in halved.groups)
        score = halved.between / (len(first) * len(second))
        found.append(Halves(name, (first, second), score))
        log.debug("splitting %s: distance %.4g between %s and %s", name, score, first, second)
    return max(found, key=lambda halves: halves.score)


def random_halves(part: Part, rng: np.random.Generator) -> Halves:
    """Split a random decision into random halves.

    Raises:
        SpaceError: No decision of the part can be split.
    """
    candidates = _candidates(part)
    name = candidates[rng.integers(len(candidates))]
    column = [decision.name for decision in part.space.decisions].index(name)
    options = [int(option) for option in rng.permutation(part.options[column])]
    middle = len(options) // 2
    groups = (tuple(sorted(options[:middle])), tuple(sorted(options[middle:])))
    return Halves(name, groups, float("nan"))


def split_supernet(supernet: Supernet, choose: Choose, levels: int = 1) -> SplitSupernet:
    """Split every member in two, each half starting from the weights of the whole.

    A member whose part has no decision left that can be split stays whole.

    Args:
        supernet: A split one, or one that is the only member so far.
        choose: Called with every member and its part.
        levels: How many times all members are split; 2 make four of one.

    Raises:
        SpaceError: No member can be split.
    """
    for _ in range(levels):
        begin = time.perf_counter()
        if isinstance(supernet, SplitSupernet):
            whole = list(zip(supernet.members, supernet.parts, strict=True))
        else:
            whole = [(supernet, Part(supernet.space, {}))]
        members: list[Supernet] = []
        parts: list[Part] = []
        for member, part in whole:
            if len(whole) > 1 and not part.divisible():
                members.append(member)
                parts.append(part)
                continue
            halves = choose(member, part)
            log.info("split %s into %s and %s, distance %.3g", *_described(halves))
            members += [member, _copy(member)]
            parts += [part.restricted(halves.decision, group) for group in halves.groups]
        if len(parts) == len(whole):
            raise _indivisible(whole[0][1])
        supernet = SplitSupernet(supernet.space, members, parts)
        seconds = time.perf_counter() - begin
        log.info("%s now has %d members, after %.1f s", supernet.space.name, len(parts), seconds)
    assert isinstance(supernet, SplitSupernet)
    return supernet


def _candidates(part: Part) -> list[str]:
    counts = {d.name: len(o) for d, o in zip(part.space.decisions, part.options, strict=True)}
    found = [name for name in part.divisible() if counts[name] <= MAX_OPTIONS]
    if not found:
        raise _indivisible(part)
    return found


def _indivisible(part: Part) -> SpaceError:
    return SpaceError(
        f"a part of {part.space.name} has no decision with 2 to {MAX_OPTIONS} options that is "
        "active in all its architectures: it cannot be split; train by another recipe, such as "
        "spos"
    )


def _described(halves: Halves) -> tuple[str, tuple[int, ...], tuple[int, ...], float]:
    return halves.decision, *halves.groups, halves.score


def _copy(supernet: Supernet) -> Supernet:
    copy = type(supernet).from_structure(supernet.space, supernet.structure())
    copy.load_state_dict(supernet.state_dict())
    return copy.to(next(supernet.parameters()).device)
