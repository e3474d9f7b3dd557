import numpy as np
import pytest

from hwnas.search.front import Front
from hwnas.search.run_records import Candidate, ChosenRecord, CostFigure, ErrorRecord
from hwnas.search.run_tables import HistoryTable


@pytest.fixture
def make_history():
    def make(n=5, d=3):
        rng = np.random.default_rng(0)
        return HistoryTable(
            np.arange(n, dtype=np.int32),
            rng.integers(0, 3, (n, d), dtype=np.uint8),
            np.where(np.arange(n) % 2, np.nan, rng.random(n)),
            rng.random((n, 2)),
            ("latency_s", "memory_bytes"),
            np.where(np.arange(n) % 2, np.inf, 0.0),
        )

    return make


@pytest.fixture
def front():
    population = np.array([[0, 1], [1, 1], [2, 0]], np.uint8)
    objectives = [[0.3, 1e-3], [0.11, 2e-3], [0.1, 4e-3]]
    return Front.of(population, objectives, None, ("error", "latency_s"))


@pytest.fixture
def chosen():
    predicted = {"latency_s": CostFigure(1e-3, "modelled")}
    measured = {"latency_s": CostFigure(1.1e-3, "measured", 1.0e-3, 1.2e-3, 1e-5, 40)}
    return ChosenRecord(
        "knee",
        [0, 1],
        {"depth": 1, "operator": [3, 6], "skip": None},
        predicted,
        measured,
        {"latency_s": 2e-3},
        True,
        ErrorRecord(0.1, 0.11, 300, 360),
        [Candidate([0, 1], predicted, measured, True)],
    )
