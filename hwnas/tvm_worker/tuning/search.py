"""Search for the schedule of one kernel: likely tiles first, then around the best."""

from collections.abc import Sequence

import numpy as np
import tvm
from tvm import s_tir, tirx

from hwnas.tvm_worker.tuning.schedules import Loops, Tile, apply_tile, loops_of, new_schedule
from hwnas.tvm_worker.tuning.sketches import sketches
from hwnas.tvm_worker.tuning.tiles import (
    VectorUnit,
    nearest,
    neighbours,
    tiles,
    unlikeness,
)

__all__ = ["KernelSearch"]

_LIKE = 3  # kernels whose tiles are tried first
_SKETCH_ROUNDS = 12
_PATIENCE = {"shared": 32, "own": 24, "elementwise": 8, "sketches": 24}
_EPSILON = 0.01  # a smaller improvement does not renew patience

Candidate = tuple[s_tir.Schedule, Tile | None]


class KernelSearch:
    """What is known about one kernel while it is tuned.

    Args:
        function: The kernel.
        target: What it is tuned for.
        unit: The target's vectors.
        weight: How often a second of it counts.
        seed: Of the generic sketches.
    """

    def __init__(
        self,
        function: tirx.PrimFunc,
        target: tvm.target.Target,
        unit: VectorUnit,
        weight: float,
        seed: int,
    ) -> None:
        self.function = function
        self.weight = weight
        self.loops: Loops | None = loops_of(function)
        self.best: tuple[float, s_tir.Schedule, Tile | None] | None = None
        self.gain = 1.0
        self._stale = 0
        self._tiles = tiles(self.loops, unit) if self.loops is not None else []
        self._left = dict.fromkeys(self._tiles)
        self._sketches = sketches(function, target, seed + 1, _SKETCH_ROUNDS)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to try, or nothing helped for long."""
        if self.best is None:
            return self._stale >= _PATIENCE[self._kind] + _PATIENCE["sketches"]
        return self._stale >= _PATIENCE[self._kind] or (bool(self._tiles) and not self._left)

    @property
    def _needs_sketches(self) -> bool:
        """Whether no tile serves, by its form or as tried."""
        if not self._tiles:
            return True
        return self.best is None and (not self._left or self._stale >= _PATIENCE[self._kind])

    @property
    def urgency(self) -> float:
        """Seconds of the total that another batch may save."""
        return np.inf if self.best is None else self.weight * self.best[0] * self.gain

    def propose(
        self, count: int, known: Sequence[tuple[Loops, Tile]], rng: np.random.Generator
    ) -> list[Candidate]:
        """Schedules to try next; empty if there are none left."""
        found: list[Candidate] = []
        while len(found) < count and self._left and not self._needs_sketches:
            tile = self._next_tile(known, rng)
            self._left.pop(tile)
            schedule = new_schedule(self.function)
            try:
                apply_tile(schedule, tile)
            except (s_tir.ScheduleError, tvm.error.InternalError, ValueError):
                self._stale += 1
                continue
            found.append((schedule, tile))
        while self._needs_sketches and len(found) < count:
            sketch = next(self._sketches, None)
            if sketch is None:
                self._stale += _PATIENCE[self._kind] + _PATIENCE["sketches"]
                break
            found.append((sketch, None))
        return found

    def resume(self, seconds: float, schedule: s_tir.Schedule, tile: Tile | None) -> None:
        """Start from an earlier record."""
        self.best = seconds, schedule, tile
        if tile is not None:
            self._left.pop(tile, None)

    def learn(
        self, candidates: Sequence[Candidate], times: Sequence[float | None], again: float | None
    ) -> bool:
        """Take in a batch; whether it held a new best.

        Args:
            candidates: What was timed.
            times: In s, None for failures.
            again: Time of the best so far in the same batch: what the others are compared with.
        """
        timed = [(t, c) for t, c in zip(times, candidates, strict=True) if t is not None]
        before = self.best[0] if self.best is not None else None
        fastest = min(timed, key=lambda pair: pair[0], default=None)
        if fastest is None or (before is not None and again is not None and fastest[0] >= again):
            self._stale += len(candidates)
            self.gain /= 2
            return False
        seconds, (schedule, tile) = fastest
        if before is not None and again is not None:
            ratio = seconds / again
            seconds = before * ratio  # at the machine's speed when the first one was timed
            self.gain = max(self.gain / 2, 1 - ratio)
            self._stale = 0 if ratio < 1 - _EPSILON else self._stale + len(candidates)
        self.best = seconds, schedule, tile
        return True

    @property
    def _kind(self) -> str:
        if self.loops is None or not self._tiles:
            return "sketches"
        if not self.loops.reductions:
            return "elementwise"
        return "shared" if self.loops.shared else "own"

    def _next_tile(self, known: Sequence[tuple[Loops, Tile]], rng: np.random.Generator) -> Tile:
        left = list(self._left)
        if self.best is None or self.best[2] is None:
            assert self.loops is not None  # there are tiles
            loops = self.loops
            like = sorted(known, key=lambda pair: unlikeness(loops, pair[0]))[:_LIKE]
            for other, tile in like:
                if unlikeness(loops, other) < np.inf:
                    transferred = nearest(tile, self._tiles)
                    if transferred in self._left:
                        return transferred
            return left[0]
        draw = rng.random()
        near = neighbours(self.best[2], left)
        if near and draw < 0.6:
            return near[int(len(near) * rng.random() ** 2)]
        if draw < 0.9:
            return left[int(min(len(left), 40) * rng.random() ** 2)]
        return left[rng.integers(len(left))]
