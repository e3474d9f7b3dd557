"""A stream of samples that survives being killed, and what it says so far."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from hwnas.costs.table import CostTable, Source
from hwnas.profiling.drift import relative_slowness
from hwnas.profiling.estimate import Estimate, estimate_median

__all__ = ["Recorder"]

_FLUSH_S = 1.0


class Recorder:
    """Collects samples in order and writes them to the table about once a second.

    Samples of earlier sessions of the same target and runtime count too, brought to one speed.

    Args:
        table: Where samples are kept.
        source: Target and runtime.
        wanted: Keys whose earlier samples are taken up.
    """

    def __init__(self, table: CostTable, source: Source, wanted: set[str]) -> None:
        self._table = table
        self._index: dict[str, int] = {}
        self._items: list[int] = []
        self._values: list[float] = []
        self._sessions: list[int] = []
        self._pending: list[tuple[int, str, float, float]] = []
        self._position = 0
        self._flushed = time.monotonic()
        earlier = table.samples(source)
        self._session = table.open_session(source, datetime.now(UTC).isoformat())
        for number, series in enumerate(earlier):
            for key, latency in zip(series.keys, series.latency_s.tolist(), strict=True):
                if key in wanted:
                    self._append(key, latency, number)
        self._number = len(earlier)

    def add(self, keys: Sequence[str], seconds: np.ndarray) -> None:
        """Record one sample of each key; `seconds` is `(n, 2)`: target's clock, wall clock."""
        for key, (latency, wall) in zip(keys, seconds.tolist(), strict=True):
            self._append(key, latency, self._number)
            self._pending.append((self._position, key, latency, wall))
            self._position += 1
        if time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        pending, self._pending = self._pending, []
        self._table.add_samples(self._session, pending)
        self._flushed = time.monotonic()

    def estimates(self) -> dict[str, Estimate]:
        """Median of every key with drift taken out."""
        if not self._values:
            return {}
        items = np.array(self._items, dtype=np.intp)
        values = np.array(self._values)
        sessions = np.array(self._sessions, dtype=np.intp)
        steady = values / relative_slowness(items, values, sessions)
        order = np.argsort(items, kind="stable")
        bounds = np.searchsorted(items[order], np.arange(1, len(self._index)))
        parts = np.split(steady[order], bounds)
        return {key: estimate_median(parts[i]) for key, i in self._index.items()}

    def _append(self, key: str, latency: float, session: int) -> None:
        self._items.append(self._index.setdefault(key, len(self._index)))
        self._values.append(latency)
        self._sessions.append(session)
