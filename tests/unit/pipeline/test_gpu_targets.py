"""Profiles, searches and measurements on a GPU that the processor stands in for.

Times and energies mean nothing here; what is tested is which of them there are, and what is said
where there is none.
"""

import sqlite3
from dataclasses import replace

import numpy as np
import onnx
import pytest

from hwnas.backends import Availability, TuningBudget, tvm_kernels, tvm_local
from hwnas.backends.cuda.tvm_cuda import TvmCudaBackend
from hwnas.costs import CostTable
from hwnas.errors import TableError
from hwnas.lowering import random_weights, to_onnx
from hwnas.pipeline import searching
from hwnas.pipeline.measuring import measure_model
from hwnas.pipeline.profiling import costs_of
from hwnas.pipeline.requests import Limit, SearchRequest
from hwnas.pipeline.searching import search
from hwnas.profiling import Estimate, Protocol, profile_space
from hwnas.profiling.block_bench import EMPTY_KEY
from hwnas.profiling.cost_rows import cost_row, timestamp
from hwnas.profiling.profiler import backend_for, source_of
from hwnas.profiling.units import units_of
from hwnas.targets import Settings, get_target
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.messages import CodeTarget

QUICK = Protocol(
    interval=1e9, minimum_repeats=2, limit_s=600.0, passes=1, warmup=0, networks=6, instances=1
)
SETTINGS = Settings(batch=2, precision="float32")


@pytest.fixture
def target():
    return get_target("nvidia_h200").with_settings(SETTINGS)


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as opened:
        yield opened


@pytest.fixture
def pretend_tvm(monkeypatch):
    """TVM makes code for the processor in place of a GPU's."""
    if not find_tvm().works:
        pytest.skip(find_tvm().found)

    def pretend():
        for module in (tvm_kernels, tvm_local):
            monkeypatch.setattr(module, "code_target", lambda _: CodeTarget())
        monkeypatch.setattr(
            TvmCudaBackend, "is_available", lambda *_: Availability(True, "pretended")
        )

    return pretend


@pytest.fixture
def profile(space, target, table):
    def run():
        rng = np.random.default_rng(0)
        return profile_space(space, target, table, protocol=QUICK, rng=rng)

    return run


@pytest.fixture
def model(space, tmp_path):
    graph = space.network(space.smallest())
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(graph, random_weights(graph, np.random.default_rng(0))), path)
    return path


def rows_of(target, table, metric):
    return table.lookup(source_of(target, backend_for(target, table)), metric)


def test_a_profile_measures_latency_energy_launch_and_idle_power(
    pretend_gpu, space, target, table, profile
):
    pretend_gpu()

    summary = profile()

    latency, energy = rows_of(target, table, "latency_s"), rows_of(target, table, "energy_j")
    assert summary.measured == summary.units
    assert {row.provenance for row in (*latency.values(), *energy.values())} == {"measured"}
    assert set(units_of(space)) <= set(energy) < set(latency)
    assert set(rows_of(target, table, "launch_s")) == {EMPTY_KEY}
    assert rows_of(target, table, "idle_power_w")[EMPTY_KEY].value == 75.0
    costs = costs_of(space, target, table)
    assert costs.metrics == ("latency_s", "energy_j", "memory_bytes")
    assert costs.provenance[:2] == ("measured", "measured")


def test_an_energy_that_was_modelled_is_measured(pretend_gpu, space, target, table, profile):
    pretend_gpu()
    key, source = next(iter(units_of(space))), source_of(target, backend_for(target, table))
    modelled = Estimate(1.0, 1.0, 1.0, 0.0, 0, 0)
    table.put([cost_row(key, source, "energy_j", modelled, "modelled", timestamp())])

    profile()

    assert rows_of(target, table, "energy_j")[key].provenance == "measured"


def test_another_batch_has_rows_of_its_own(pretend_gpu, target, table, profile):
    pretend_gpu()
    profile()

    assert not rows_of(target.with_settings(Settings(batch=4)), table, "latency_s")


def test_memory_is_that_of_the_batch_in_its_precision(pretend_gpu, space, target, table, profile):
    pretend_gpu()
    profile()
    row = space.largest().row()[None]

    batch = costs_of(space, target, table).cost(row)[0, -1]
    cpu = costs_of(space, get_target("simulated"), table).cost(row)[0, -1]

    assert batch == pytest.approx(2 * cpu)


def test_clocks_are_recorded_and_what_slows_the_board_is_told(pretend_gpu, table, profile):
    pretend_gpu(reasons=0x004)

    summary = profile()

    assert summary.slowed_by == {"power cap": 1.0}
    with sqlite3.connect(table.path) as connection:
        states = connection.execute("SELECT clock_hz, throttled_by FROM device_state").fetchall()
    assert states
    assert set(states) == {(1.98e9, "power cap")}


def test_without_a_counter_energy_is_not_known_and_the_reason_is_said(
    pretend_gpu, space, target, table, profile, caplog
):
    pretend_gpu(lacking={"nvmlDeviceGetTotalEnergyConsumption"})

    profile()

    assert not rows_of(target, table, "energy_j")
    assert "energy on nvidia_h200 is not known" in caplog.text
    assert "Not Supported" in caplog.text
    assert costs_of(space, target, table).metrics == ("latency_s", "memory_bytes")


def test_energy_is_measured_later_where_a_counter_was_missing(pretend_gpu, target, table, profile):
    pretend_gpu(lacking={"nvmlDeviceGetTotalEnergyConsumption"})
    profile()
    pretend_gpu()

    summary = profile()
    again = profile()

    assert summary.measured == summary.units
    assert again.measured == 0
    assert len(rows_of(target, table, "energy_j")) >= summary.units


@pytest.fixture
def searched(space, monkeypatch):
    monkeypatch.setattr(searching, "get_space", lambda name: space)


def request_with(**changes):
    limits = tuple(Limit(metric, 1.0, is_share=True) for metric in ("latency_s", "energy_j"))
    request = SearchRequest(
        "tiny",
        "nvidia_h200",
        SETTINGS,
        limits,
        estimator="synthetic",
        evaluations=16,
        population=8,
    )
    return replace(request, **changes)


def test_a_search_measures_latency_and_energy_of_the_chosen_network(
    pretend_gpu, searched, table, tmp_path
):
    pretend_gpu()
    limits = (Limit("latency_s", 10.0), Limit("energy_j", 1000.0))

    run = search(request_with(limits=limits), tmp_path / "run", table, protocol=QUICK)

    chosen = run.read_chosen()
    assert chosen.budget_kept
    assert set(chosen.measured) == {"latency_s", "energy_j"}
    assert chosen.measured["energy_j"].provenance == "measured"
    assert "batch 2, float32, torch" in run.record.target.description


def test_a_budget_of_energy_needs_a_counter(pretend_gpu, searched, table, tmp_path):
    pretend_gpu(lacking={"nvmlDeviceGetTotalEnergyConsumption"})

    with pytest.raises(TableError, match="energy_j is not known on target nvidia_h200"):
        search(request_with(), tmp_path / "run", table, protocol=QUICK)


def test_a_model_file_is_measured_with_launch_and_energy(pretend_gpu, target, model):
    pretend_gpu()
    found = measure_model(model, target, protocol=QUICK)

    assert found.latency.value > 0.0
    assert found.launch is not None
    assert found.energy.value > 0.0
    assert found.idle_power_w == 75.0
    assert found.no_energy == ""


def test_a_model_file_is_measured_without_energy_where_nothing_counts_it(model):
    found = measure_model(model, get_target("cpu"), protocol=QUICK)

    assert found.launch is None
    assert (found.energy is None) == bool(found.no_energy)


@pytest.mark.parametrize("runtime", ["tvm", "tvm-tuned"])
def test_kernels_of_tvm_have_measured_energy_too(pretend_gpu, pretend_tvm, space, table, runtime):
    pretend_gpu()
    pretend_tvm()
    target = get_target("nvidia_h200").with_settings(replace(SETTINGS, runtime=runtime))
    rng = np.random.default_rng(0)

    summary = profile_space(
        space, target, table, protocol=QUICK, tuning=TuningBudget(trials=40), rng=rng
    )
    again = profile_space(space, target, table, protocol=QUICK, rng=rng)

    latency, energy = rows_of(target, table, "latency_s"), rows_of(target, table, "energy_j")
    assert summary.measured == summary.units
    assert again.measured == 0
    assert {row.provenance for row in (*latency.values(), *energy.values())} == {"measured"}
    assert set(units_of(space)) <= set(energy) == set(latency)
    costs = costs_of(space, target, table)
    assert "energy_j" in costs.metrics
    assert costs.source.runtime.split()[2] == {"tvm": "dlight", "tvm-tuned": "tuned"}[runtime]
