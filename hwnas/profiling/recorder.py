"""A stream of samples that survives being killed, and what it says so far."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from hwnas.costs.table import CostTable, Source
from hwnas.profiling.drift import medians_by_item, relative_slowness
from hwnas.profiling.estimate import Estimate, estimate_median

__all__ = ["Recorder"]

_FLUSH_S = 1.0
_ALIGNED_REPEATS = 8  # an instance with fewer samples has no median to align by


class Recorder:
    """Collects samples in order and writes them to the table about once a second.

    Samples of earlier sessions of the same target and runtime count too, brought to one speed. A
    kernel may be measured in several compiled instances, whose keys read `<key>#<instance>`: its
    value is the mean of their medians, its spread that of repeated runs of one instance.

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
                if key.split("#")[0] in wanted:
                    self._append(key, latency, number)
        self._number = len(earlier)

    @property
    def session(self) -> int:
        """Number of this session in the table."""
        return self._session

    def add(self, items: Sequence[str], seconds: np.ndarray) -> None:
        """Record one sample of each item, a key or `<key>#<instance>`.

        Args:
            items: What was measured.
            seconds: `(n, 2)`: by the target's clock, by the wall clock.
        """
        for item, (latency, wall) in zip(items, seconds.tolist(), strict=True):
            self._append(item, latency, self._number)
            self._pending.append((self._position, item, latency, wall))
            self._position += 1
        if time.monotonic() - self._flushed > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        pending, self._pending = self._pending, []
        self._table.add_samples(self._session, pending)
        self._flushed = time.monotonic()

    def estimates(self) -> dict[str, Estimate]:
        """Median of every key with drift taken out and instances aligned."""
        if not self._values:
            return {}
        items = np.array(self._items, dtype=np.intp)
        values = np.array(self._values)
        sessions = np.array(self._sessions, dtype=np.intp)
        steady = values / relative_slowness(items, values, sessions)
        keys = list(dict.fromkeys(name.split("#")[0] for name in self._index))
        number = {key: i for i, key in enumerate(keys)}
        kernel = np.array([number[name.split("#")[0]] for name in self._index])
        aligned = steady * _alignment(items, steady, kernel)[items]
        order = np.argsort(kernel[items], kind="stable")
        bounds = np.searchsorted(kernel[items][order], np.arange(1, len(keys)))
        parts = np.split(aligned[order], bounds)
        return {key: estimate_median(part) for key, part in zip(keys, parts, strict=True)}

    def _append(self, item: str, latency: float, session: int) -> None:
        # Instances of the next session keep the names of these: what two sessions share is what
        # brings them to one speed.
        self._items.append(self._index.setdefault(item, len(self._index)))
        self._values.append(latency)
        self._sessions.append(session)


def _alignment(
    items: npt.NDArray[np.intp],
    steady: npt.NDArray[np.float64],
    kernel: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """Factor for each item that brings its median to the mean of its kernel's instances."""
    medians = medians_by_item(items, steady)
    known = np.bincount(items, minlength=len(kernel)) >= _ALIGNED_REPEATS
    sums = np.bincount(kernel[known], weights=medians[known], minlength=int(kernel.max()) + 1)
    counts = np.bincount(kernel[known], minlength=int(kernel.max()) + 1)
    means = sums / np.maximum(counts, 1)
    return np.where(known, means[kernel] / medians, 1.0)
