"""Which of several programs for one kernel is faster, learned from measured ones; without TVM.

A program is described by one row of features for each place where it stores something; the largest
value of each feature over the rows describes the whole. The model predicts the logarithm of the
best known time of a kernel over the program's time, so that kernels of all sizes can be learned
together: programs of one kernel are only compared with each other.

References:
    Zheng et al., Ansor, OSDI 2020, section 5.2: features of stores, score relative to the best.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingRegressor

from hwnas.errors import TableError

__all__ = ["CandidateRanking"]

SCHEMA = 1
_MINIMUM_PROGRAMS = 16  # two leaves' worth: below it there is nothing to split
_SAMPLES_IN_LEAF = 8
_BOOSTING_ROUNDS = 100
_LARGEST_FILE_BYTES = 1 << 28  # 400 thousand programs of 172 features
_ARRAYS = ("schema", "features", "latency_s", "kernel", "kernels")

Floats = npt.NDArray[np.float64]


@dataclass
class _Programs:
    """Measured programs of one kernel."""

    features: list[npt.NDArray[np.float32]] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)


class CandidateRanking:
    """Scores in (0, 1], larger for programs expected to be faster.

    It has no state but what it was shown, and learns it afresh when next asked: the order in which
    files were loaded does not matter.
    """

    def __init__(self) -> None:
        self._kernels: dict[str, _Programs] = {}
        self._model: HistGradientBoostingRegressor | None = None

    def __len__(self) -> int:
        """Programs learned from."""
        return sum(len(programs.latency_s) for programs in self._kernels.values())

    @property
    def is_ready(self) -> bool:
        """Whether there are enough programs to predict from."""
        return len(self) >= _MINIMUM_PROGRAMS

    def add(
        self,
        kernel: str,
        features: Sequence[npt.NDArray[np.float32]],
        latency_s: Sequence[float],
    ) -> None:
        """Learn from measured programs of a kernel.

        Programs without features, or whose time is not positive and finite, are left out.

        Args:
            kernel: Any name that tells it from other kernels.
            features: Of each program `(stores, f)`.
            latency_s: Time of each program.

        Raises:
            ValueError: The two have different lengths, or f is not what it was before.
        """
        programs = self._kernels.setdefault(kernel, _Programs())
        for rows, seconds in zip(features, latency_s, strict=True):
            if len(rows) and np.isfinite(seconds) and seconds > 0.0:
                described = _described(rows)
                self._check_width(described.size)
                programs.features.append(described)
                programs.latency_s.append(float(seconds))
        if not programs.latency_s:
            del self._kernels[kernel]
        self._model = None

    def score(self, features: Sequence[npt.NDArray[np.float32]]) -> Floats:
        """Expected speed `(n,)` relative to the best program of the same kernel.

        Programs without features score 0.

        Raises:
            ValueError: It has not been shown enough programs: see `is_ready`.
        """
        scores = np.zeros(len(features))
        described = {i: _described(rows) for i, rows in enumerate(features) if len(rows)}
        if described:
            table = np.stack(list(described.values()))
            self._check_width(table.shape[1])
            scores[list(described)] = np.exp(np.minimum(self._fitted().predict(table), 0.0))
        return scores

    def save(self, path: Path) -> None:
        """Write all that it was shown, as arrays of NumPy's without pickle."""
        names = sorted(self._kernels)
        rows = [f for name in names for f in self._kernels[name].features]
        times = [s for name in names for s in self._kernels[name].latency_s]
        counts = [len(self._kernels[name].latency_s) for name in names]
        with path.open("wb") as file:
            np.savez_compressed(
                file,
                schema=np.array(SCHEMA),
                features=np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32),
                latency_s=np.array(times, dtype=np.float64),
                kernel=np.repeat(np.arange(len(names), dtype=np.int64), counts),
                kernels=np.array(names, dtype=np.str_),
            )

    def load(self, path: Path) -> None:
        """Learn from a file too.

        Raises:
            TableError: It cannot be read, was not written by `save`, or holds other features.
        """
        arrays = _read(path)
        features, times = arrays["features"], arrays["latency_s"]
        kernel, names = arrays["kernel"], arrays["kernels"]
        sound = (
            features.ndim == 2
            and features.dtype == np.float32
            and times.dtype == np.float64
            and kernel.dtype == np.int64
            and names.dtype.kind == "U"
            and times.shape == kernel.shape == (len(features),)
            and names.ndim == 1
            and np.isin(kernel, np.arange(len(names))).all()
            and np.isfinite(features).all()
        )
        if not sound:
            raise TableError(f"{path} does not hold measured programs: save it again")
        try:
            for number, name in enumerate(names.tolist()):
                chosen = kernel == number
                self.add(name, list(features[chosen][:, None, :]), times[chosen].tolist())
        except ValueError as error:
            raise TableError(f"{path} has {error}") from None

    def _fitted(self) -> HistGradientBoostingRegressor:
        if not self.is_ready:
            raise ValueError(f"{len(self)} programs are too few: show {_MINIMUM_PROGRAMS} first")
        if self._model is None:
            groups = [self._kernels[name] for name in sorted(self._kernels)]
            table = np.stack([features for group in groups for features in group.features])
            speed = [min(g.latency_s) / np.array(g.latency_s) for g in groups]
            self._model = HistGradientBoostingRegressor(
                max_iter=_BOOSTING_ROUNDS,
                min_samples_leaf=_SAMPLES_IN_LEAF,
                early_stopping=False,
                random_state=0,  # decides nothing without early stopping and subsampling
            ).fit(table, np.log(np.concatenate(speed)))
        return self._model

    def _check_width(self, found: int) -> None:
        known = next((p.features[0].size for p in self._kernels.values() if p.features), found)
        if found != known:
            raise ValueError(f"{found} features a program, where others have {known}")


def _described(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    largest: npt.NDArray[np.float32] = np.asarray(rows, dtype=np.float32).max(axis=0)
    return largest


def _read(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays of a file, refused before anything large is unpacked."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > _LARGEST_FILE_BYTES:
            raise TableError(f"{path} unpacks to {size} bytes: hwnas did not write it")
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise TableError(f"cannot read measured programs from {path}: {error}") from None
    if found["schema"].shape != () or found["schema"] != SCHEMA:
        raise TableError(f"{path} has another schema; this version of hwnas reads {SCHEMA}")
    return found
