"""What of a space has to be measured: its distinct blocks, and networks that carry them all."""

from dataclasses import dataclass

import numpy as np

from hwnas.errors import SpaceError
from hwnas.graph import Graph, Kernel, count_graph, kernel_signature
from hwnas.spaces import Architecture, Fragment, Population, SearchSpace

__all__ = [
    "Unit",
    "carriers",
    "describe_kernel",
    "has_branches",
    "spread_networks",
    "units_of",
]

_SPREAD_TRIES = 8
_MOST_TRIES = 1000  # architectures drawn without finding any missing unit


@dataclass(frozen=True)
class Unit:
    """One distinct block.

    Args:
        fragment: Its graph and key.
        occurrences: `(block, choice)` pairs that emit it.
    """

    fragment: Fragment
    occurrences: tuple[tuple[int, tuple[int, ...]], ...]


def units_of(space: SearchSpace) -> dict[str, Unit]:
    """Distinct blocks that do something, by key, in order of first occurrence."""
    found: dict[str, tuple[Fragment, list[tuple[int, tuple[int, ...]]]]] = {}
    for block in range(len(space.blocks)):
        for choice in space.slots(block):
            fragment = space.fragment(block, choice)
            if not fragment.is_empty:
                found.setdefault(fragment.key, (fragment, []))[1].append((block, choice))
    return {key: Unit(fragment, tuple(where)) for key, (fragment, where) in found.items()}


def has_branches(space: SearchSpace) -> bool:
    """Whether a block reads any other than just the block before it."""
    names = [block.name for block in space.blocks]
    return any(space.inputs_of(i) not in ((), (names[i - 1],)) for i in range(len(names)))


def describe_kernel(key: str, graph: Graph) -> Kernel:
    """What the table says about a key."""
    counts = count_graph(graph)
    return Kernel(
        key, kernel_signature(graph), counts.macs, counts.activation_bytes, counts.weight_bytes
    )


def carriers(
    space: SearchSpace, units: dict[str, Unit], rng: np.random.Generator
) -> list[Architecture]:
    """Few architectures in which every unit occurs at least once.

    Greedy: each architecture takes up as many missing units as fit together; the decisions that
    they leave open are drawn at random, for variety of neighbours.

    Raises:
        SpaceError: A unit is in no canonical architecture.
    """
    missing = dict(units)
    chosen: list[Architecture] = []
    in_vain = 0
    while missing:
        before = len(missing)
        row = space.sample(1, rng)[0]
        fixed: set[int] = set()
        for unit in missing.values():
            for block, choice in unit.occurrences:
                columns = space.columns_of(block)
                fits = all(row[c] == o for c, o in zip(columns, choice, strict=True) if c in fixed)
                if fits:
                    row[list(columns)] = choice
                    fixed.update(columns)
                    break
        architecture = space.architecture(row)
        for block in range(len(space.blocks)):
            choice = tuple(architecture.indices[c] for c in space.columns_of(block))
            missing.pop(space.fragment(block, choice).key, None)
        in_vain = 0 if len(missing) < before else in_vain + 1
        if not in_vain:
            chosen.append(architecture)
        elif in_vain > _MOST_TRIES:
            block, choice = next(iter(missing.values())).occurrences[0]
            raise SpaceError(
                f"block {space.blocks[block].name!r} of {space.name} with choice {choice} is in "
                "no canonical architecture: look at what its presence depends on"
            )
    return chosen


def spread_networks(space: SearchSpace, n: int, rng: np.random.Generator) -> Population:
    """`n` distinct architectures from the smallest to the largest, `(at most n, d)`.

    Random architectures are all of middling size. Here a share of the decisions, growing with the
    third power towards both ends, is that of the smallest or of the largest architecture: many
    networks where most architectures are, a few at either end. In small spaces, where some come
    out equal, those are drawn again a few times.
    """
    lean = np.linspace(-1.0, 1.0, n)[:, None] ** 3
    ends = np.where(lean < 0, space.smallest().row(), space.largest().row())
    chosen = np.empty((n, len(space.decisions)), dtype=np.uint8)
    again = np.arange(n)
    for _ in range(_SPREAD_TRIES):
        rows = space.sample(len(again), rng)
        pulled = rng.random(rows.shape) < np.abs(lean[again])
        chosen[again] = space.canonicalise(np.where(pulled, ends[again], rows))
        _, first = np.unique(chosen, axis=0, return_index=True)
        again = np.setdiff1d(np.arange(n), first)
        if not len(again):
            break
    distinct: Population = chosen[np.sort(first)]
    return distinct
