"""Architectures that are the same network: told apart by keys, and given one row.

Rows of NAS-Bench-201 fall into 6,466 classes by the text form of its authors, in which sums keep
their zeros and a shared operation reads as two; by what the graphs compute there are 5,425.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from hwnas.encoding.encoder import Encoder
from hwnas.errors import SpaceError
from hwnas.spaces import CellSpace, NasBench101, NasBench201, Population, get_space
from hwnas.spaces.cells import INPUTS
from hwnas.spaces.nasbench101 import EDGES, VERTICES

__all__ = ["Distinct", "canonical_rows", "distinct"]


@dataclass(frozen=True, eq=False)
class Distinct:
    """Classes of equal networks in a population, in the order of their first rows.

    Args:
        rows: First row of each class, `(classes,)`.
        classes: Class of each row, `(n,)`.
    """

    rows: npt.NDArray[np.intp]
    classes: npt.NDArray[np.intp]


def distinct(encoder: Encoder, population: Population, threads: int = 1) -> Distinct:
    """Sort a population into classes of equal networks.

    Raises:
        SpaceError: As `Encoder.keys`.
    """
    keys = encoder.keys(population, threads=threads).view(np.uint64)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Distinct(first[order], rank[inverse.reshape(-1)])


def canonical_rows(encoder: Encoder, population: Population) -> Population:
    """The least row, in lexicographic order, that is the same network, `(n, d)`.

    All rows of NAS-Bench-201 are compared once. Cells of pairs are the same where their nodes are
    numbered in another order; so are those of NAS-Bench-101, where what is dead has gone.

    Raises:
        SpaceError: Wrong population, or a space for which this is not known.
    """
    space = encoder.space
    rows = space.checked(population)
    if isinstance(space, NasBench201):
        every, least = _nasbench201_rows(space.name)
        place = np.ravel_multi_index(tuple(rows.T.astype(np.intp)), tuple(space.option_counts))
        chosen: Population = every[least[place]]
        return chosen
    if isinstance(space, CellSpace) and space.layout.edges == "pairs":
        parts = np.split(rows, len(space.layout.owners), axis=1)
        return np.concatenate([_least(_renumbered_cells(space, each)) for each in parts], axis=1)
    if isinstance(space, NasBench101):
        return _least(_renumbered_vertices(space.canonicalise(rows)))
    raise SpaceError(
        f"{space.name} has no canonical rows for equal networks: use `distinct`, which compares "
        "keys"
    )


@lru_cache(maxsize=4)
def _nasbench201_rows(name: str) -> tuple[Population, npt.NDArray[np.intp]]:
    """All rows in order, and for each the number of the least one that is the same network."""
    space = get_space(name)
    counts = tuple(int(count) for count in space.option_counts)
    every = np.indices(counts, dtype=np.uint8).reshape(len(counts), -1).T.copy()
    found = distinct(Encoder(space), every)
    return every, found.rows[found.classes]


def _least(candidates: Iterable[tuple[Population, npt.NDArray[np.bool_]]]) -> Population:
    """Row by row the least candidate that is valid; the first one always is."""
    best: Population | None = None
    for rows, valid in candidates:
        if best is None:
            best = rows.copy()
            continue
        differs = rows != best
        column = differs.argmax(axis=1)[:, None]
        smaller = np.take_along_axis(rows, column, 1) < np.take_along_axis(best, column, 1)
        take = valid & smaller[:, 0] & differs.any(axis=1)
        best[take] = rows[take]
    assert best is not None
    return best


def _renumbered_cells(
    space: CellSpace, rows: Population
) -> Iterable[tuple[Population, npt.NDArray[np.bool_]]]:
    """One owner's decisions, `(n, 3 * nodes)`, with its nodes in every order."""
    layout = space.layout
    pairs = [np.array(layout.pairs(node)) for node in layout.node_numbers]
    rank = []
    for node in layout.node_numbers:
        table = np.zeros((node, node), dtype=np.uint8)
        for option, (i, j) in enumerate(layout.pairs(node)):
            table[i, j] = table[j, i] = option
        rank.append(table)
    for order in permutations(range(layout.nodes)):
        number = np.array([*range(INPUTS), *(INPUTS + place for place in order)])
        out = np.zeros_like(rows)
        valid = np.ones(len(rows), dtype=bool)
        for old, new in enumerate(order):
            chosen, first, second = (rows[:, 3 * old + part] for part in range(3))
            sources = number[pairs[old][chosen]]
            legal = sources.max(axis=1) < INPUTS + new
            valid &= legal
            i, j = np.where(legal[:, None], sources, 0).T
            out[:, 3 * new] = rank[new][i, j]
            swap = i > j
            out[:, 3 * new + 1] = np.where(swap, second, first)
            out[:, 3 * new + 2] = np.where(swap, first, second)
        yield out, valid


def _renumbered_vertices(
    rows: Population,
) -> Iterable[tuple[Population, npt.NDArray[np.bool_]]]:
    """Cells of NAS-Bench-101 with their inner vertices in every order."""
    column_of = {edge: column for column, edge in enumerate(EDGES)}
    for order in permutations(range(1, VERTICES - 1)):
        number = (0, *order, VERTICES - 1)
        out = np.zeros_like(rows)
        valid = np.ones(len(rows), dtype=bool)
        for column, (source, node) in enumerate(EDGES):
            place = column_of.get((number[source], number[node]))
            if place is None:
                valid &= rows[:, column] == 0
            else:
                out[:, place] = rows[:, column]
        for vertex, new in enumerate(order):
            out[:, len(EDGES) + new - 1] = rows[:, len(EDGES) + vertex]
        yield out, valid
