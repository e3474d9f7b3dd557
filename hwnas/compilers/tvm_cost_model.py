"""A cost model for MetaSchedule that learns from what was measured before. Runs in a user's TVM.

    model = LearnedCostModel(rng=numpy.random.default_rng(0))
    model.learn_from(database)
    tune_tir(..., cost_model=model)

Unlike TVM's own it can start from the records of a tuning database, of other kernels too, keeps
its data in a file without pickle, and draws random numbers only from the given generator.
"""

from hwnas.compilers import tvm_required  # noqa: F401

# isort: split
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tvm_ffi
from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule

from hwnas.compilers.candidate_ranking import CandidateRanking
from hwnas.errors import PluginError
from hwnas.tvm_worker import find_tvm

__all__ = ["LearnedCostModel"]


@derived_object
class LearnedCostModel(meta_schedule.cost_model.PyCostModel):  # type: ignore[misc]
    """Ranks candidates by gradient-boosted trees over TVM's features of stores.

    Until it has seen enough programs, candidates score at random.

    Args:
        rng: For those scores.

    Raises:
        PluginError: The installed versions of TVM end the process when something is tuned.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        found = find_tvm()
        if not found.works:
            raise PluginError(f"{found.found}: {found.remedy}")
        self.ranking = CandidateRanking()
        self._rng = rng
        # The workload's own features let one model serve kernels of different sizes.
        self._extractor = meta_schedule.feature_extractor.PerStoreFeature(extract_workload=True)

    def load(self, path: str) -> None:
        """Learn from a file of `save` too.

        Raises:
            TableError: It cannot be read or was not written by `save`.
        """
        self.ranking.load(Path(path))

    def save(self, path: str) -> None:
        """Write what was learned from."""
        self.ranking.save(Path(path))

    def update(
        self,
        context: meta_schedule.TuneContext,
        candidates: list[meta_schedule.MeasureCandidate],
        results: list[meta_schedule.runner.RunnerResult],
    ) -> None:
        """Learn from measured candidates of one kernel; those that failed are left out."""
        ran = [
            (candidate, float(np.median([float(s) for s in result.run_secs])))
            for candidate, result in zip(candidates, results, strict=True)
            if result.run_secs
        ]
        self._learn(context, [c for c, _ in ran], [s for _, s in ran])

    def predict(
        self,
        context: meta_schedule.TuneContext,
        candidates: list[meta_schedule.MeasureCandidate],
    ) -> npt.NDArray[np.float64]:
        """Scores `(n,)`, larger is faster."""
        if not self.ranking.is_ready:
            return self._rng.uniform(size=len(candidates))
        return self.ranking.score(self._features(context, candidates))

    def learn_from(self, database: meta_schedule.database.Database) -> int:
        """Learn from all records of a tuning database.

        Returns:
            Number of records with a time.
        """
        records = defaultdict(list)
        for record in database.get_all_tuning_records():
            if record.run_secs:
                records[tvm_ffi.structural_hash(record.workload.mod)].append(record)
        for _, group in sorted(records.items()):
            context = meta_schedule.TuneContext(
                mod=group[0].workload.mod, target=group[0].target, num_threads=1
            )
            candidates = [record.as_measure_candidate() for record in group]
            seconds = [float(np.median([float(s) for s in r.run_secs])) for r in group]
            self._learn(context, candidates, seconds)
        return sum(map(len, records.values()))

    def _learn(
        self,
        context: meta_schedule.TuneContext,
        candidates: list[meta_schedule.MeasureCandidate],
        latency_s: list[float],
    ) -> None:
        if candidates:
            kernel = f"{tvm_ffi.structural_hash(context.mod):016x}"
            self.ranking.add(kernel, self._features(context, candidates), latency_s)

    def _features(
        self,
        context: meta_schedule.TuneContext,
        candidates: list[meta_schedule.MeasureCandidate],
    ) -> list[npt.NDArray[np.float32]]:
        extracted = self._extractor.extract_from(context, candidates)
        return [rows.numpy().astype(np.float32) for rows in extracted]
