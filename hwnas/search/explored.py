"""Which architectures were asked for already, and how to come by one that was not."""

import math
from collections.abc import Callable

import numpy as np

from hwnas import _core
from hwnas.search.strategy import Population, PopulationSpace

__all__ = ["Explored"]

#: Spaces up to this many encodings are listed in full when proposals run dry, which makes their
#: exhaustion exact. 2^18 rows are listed and looked up in about 20 ms.
LARGEST_LISTED_SPACE = 1 << 18

#: Rounds of proposals, then of plain sampling, before the space counts as exhausted.
PROPOSAL_ROUNDS = 6
#: Proposals for each missing row, in the first round and in later ones, where more of them repeat
#: what is known. A spare proposal costs 0.1 us, a round some 30 us.
FIRST_PROPOSALS = 1.5
LATER_PROPOSALS = 3.0
SAMPLING_ROUNDS = 6


class Explored:
    """The canonical rows that a strategy has asked for or was told.

    It holds at least the latest `memory_rows / 2` rows, and all until there are `memory_rows`; an
    architecture that was forgotten may be asked for again.

    Args:
        space: The space that is explored.
        memory_rows: Most rows to hold; each takes d + 16 bytes or so.
    """

    def __init__(self, space: PopulationSpace, memory_rows: int = 1 << 22) -> None:
        self._space = space
        self._memory_rows = memory_rows
        self._seen = _core.RowSet(len(space.option_counts))

    def __len__(self) -> int:
        """Tells how many rows are held."""
        return len(self._seen)

    def rows(self) -> Population:
        """Returns the rows held, `(k, d)`, oldest first."""
        return self._seen.rows()

    def reset(self, rows: Population) -> None:
        """Holds these rows, and no others.

        Args:
            rows: `(k, d)`, oldest first.
        """
        self._seen = _core.RowSet(len(self._space.option_counts))
        self._seen.insert(rows)

    def mark(self, rows: Population) -> None:
        """Adds rows, if they are new.

        Args:
            rows: `(k, d)`, C-contiguous.
        """
        self._make_room(len(rows))
        self._seen.insert(rows)

    def unknown(self, rows: Population) -> Population:
        """Returns the canonical forms of rows that are not held, `(k, d)`, each once; holds none.

        Args:
            rows: `(n, d)`; they may be changed in place.
        """
        canonical = np.ascontiguousarray(self._space.canonicalise(rows))
        fresh = np.ascontiguousarray(canonical[self._seen.find(canonical) < 0])
        distinct = _core.RowSet(fresh.shape[1])
        return distinct.take_new(fresh, len(fresh))

    def novel(
        self,
        count: int,
        rng: np.random.Generator,
        propose: Callable[[int, int], Population] | None = None,
    ) -> Population:
        """Returns up to `count` canonical rows that were not held, and holds them from now on.

        Proposals come first; if they keep repeating what is known, the space is sampled, and if it
        is small, listed. Fewer rows than asked for mean that no more could be found.

        Args:
            count: How many rows.
            rng: Source of chance for sampling.
            propose: Takes how many rows to propose and how many rounds went before, and returns
                the rows; None samples the space. A few more are asked for than are missing.
        """
        found: list[Population] = []
        missing = count
        first = 0 if propose is not None else PROPOSAL_ROUNDS
        for attempt in range(first, PROPOSAL_ROUNDS + SAMPLING_ROUNDS):
            if propose is not None and attempt < PROPOSAL_ROUNDS:
                factor = LATER_PROPOSALS if attempt else FIRST_PROPOSALS
                rows = propose(math.ceil(factor * missing), attempt)
            else:
                rows = self._space.sample(missing, rng)
            fresh = self._fresh(np.ascontiguousarray(self._space.canonicalise(rows)), missing)
            missing -= len(fresh)
            if not missing and not found:
                return fresh
            found.append(fresh)
            if not missing:
                break
        if missing:
            found.append(self._unlisted(missing, rng))
        return np.concatenate(found)

    def _fresh(self, rows: Population, limit: int) -> Population:
        self._make_room(len(rows))
        return self._seen.take_new(rows, limit)

    def _make_room(self, count: int) -> None:
        if len(self._seen) + count > self._memory_rows:
            self.reset(self._seen.rows()[-(self._memory_rows // 2) :])

    def _unlisted(self, count: int, rng: np.random.Generator) -> Population:
        counts = self._space.option_counts
        width = len(counts)
        if np.prod(counts.astype(np.float64)) > LARGEST_LISTED_SPACE:
            return np.empty((0, width), np.uint8)
        every = np.indices(tuple(int(count) for count in counts), dtype=np.uint8)
        rows = np.ascontiguousarray(self._space.canonicalise(every.reshape(width, -1).T.copy()))
        left = np.unique(rows[self._seen.find(rows) < 0], axis=0)
        chosen = left[rng.permutation(len(left))[:count]]
        return self._fresh(np.ascontiguousarray(chosen), count)
