"""`nasbench101`: cells as in NAS-Bench-101, as a space of decisions.

Ying et al., NAS-Bench-101: Towards Reproducible Neural Architecture Search, ICML 2019. A cell is a
directed acyclic graph of an input, five operations and an output, with at most nine edges; every
pair of vertices is a decision, and so is every operation. 423,624 distinct cells come of it.

It is no space of networks here: the channels of a vertex follow from the whole cell, so that no
choice block reads a few decisions only. Encodings, keys, sampling and mutation need none.
"""

from itertools import combinations

import numpy as np
import numpy.typing as npt

from hwnas.spaces.decisions import Decision, DecisionSpace, Population

__all__ = ["EDGES", "MOST_EDGES", "OPERATIONS", "VERTICES", "NasBench101", "nasbench101"]

VERTICES = 7
MOST_EDGES = 9
EDGES = tuple(combinations(range(VERTICES), 2))
"""Source and destination of each edge decision."""

OPERATIONS = ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
"""Of the vertices 1 to 5; 0 is the input and 6 the output."""


class NasBench101(DecisionSpace):
    """The cells; a row is 21 edges, then 5 operations."""

    def is_valid(self, population: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether a cell joins its input and output by at most nine live edges, `(n,)`.

        Raises:
            SpaceError: Wrong type or shape, or an option index out of range.
        """
        rows = self.canonicalise(np.asarray(population))
        edges = rows[:, : len(EDGES)].sum(axis=1)
        valid: npt.NDArray[np.bool_] = (edges > 0) & (edges <= MOST_EDGES)
        return valid

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """Draw `n` valid cells in canonical form, `(n, 26)`; invalid ones are drawn again."""
        kept: list[Population] = [np.empty((0, len(self.decisions)), dtype=np.uint8)]
        missing = n
        while missing:
            drawn = super().sample(2 * missing + 16, rng)
            found = drawn[self.is_valid(drawn)][:missing]
            kept.append(found)
            missing -= len(found)
        return np.concatenate(kept)

    def neighbours(self, row: npt.ArrayLike) -> Population:
        """Valid cells one edit away, in canonical form, each once."""
        near = super().neighbours(row)
        return near[self.is_valid(near)]

    def _canonicalised_in_place(self, population: Population) -> Population:
        """Edges on no path from input to output go, and operations of vertices on none."""
        edges = population[:, : len(EDGES)]
        operations = population[:, len(EDGES) :]
        forward = np.zeros((VERTICES, len(population)), dtype=bool)
        backward = np.zeros_like(forward)
        forward[0] = backward[VERTICES - 1] = True
        for column, (source, node) in enumerate(EDGES):
            # By source: all edges into it have been seen.
            forward[node] |= forward[source] & (edges[:, column] != 0)
        for column, (source, node) in reversed(list(enumerate(EDGES))):
            backward[source] |= backward[node] & (edges[:, column] != 0)
        live = forward & backward
        for column, (source, node) in enumerate(EDGES):
            edges[:, column] *= live[source] & live[node]
        operations *= live[1:-1].T
        return population


def nasbench101() -> NasBench101:
    """The space."""
    decisions = tuple(Decision(f"edge{source}{node}", (False, True)) for source, node in EDGES)
    decisions += tuple(Decision(f"vertex{v}", OPERATIONS) for v in range(1, VERTICES - 1))
    return NasBench101(
        "nasbench101", decisions, "NAS-Bench-101's cells: seven vertices, at most nine edges"
    )
