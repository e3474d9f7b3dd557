"""The profile of kernels, against a compiler whose kernels and their times are known."""

import numpy as np
import pytest

from hwnas.backends import (
    Availability,
    LoweredGraphs,
    TuningBudget,
    TuningReport,
)
from hwnas.costs import CostTable, Source, compile_costs
from hwnas.errors import MeasurementError
from hwnas.graph import Kernel, shape_of
from hwnas.profiling import Protocol
from hwnas.profiling.kernel_profile import KernelProfile
from hwnas.profiling.reference import reference_key
from hwnas.profiling.units import units_of
from hwnas.targets import get_target

SOURCE = Source("0123456789abcdef", "compiler 1")
PROTOCOL = Protocol(limit_s=20.0, minimum_repeats=8, networks=6, warmup=0, passes=1)
OVERHEAD_S = 2e-6  # a network takes this much beside its kernels


class KnownCompiler:
    """Every convolution or product is a kernel, whose time follows from its result's shape."""

    name = "known"

    def __init__(self, untuned=0, unmeasured=()):
        self.untuned, self.unmeasured = untuned, set(unmeasured)
        self.tuned_keys, self.calls, self.samples = [], {}, 0

    def is_available(self, target):
        return Availability(True, "always")

    def runtime(self, target):
        return SOURCE.runtime

    def with_tuning(self, folder):
        return self

    def lower(self, graphs, target, *, pieces=False, progress=None):
        kernels, calls = {}, {}
        for name, (graph, _) in graphs.items():
            called = []
            for node in graph.nodes:
                if node.op_type in ("Conv", "Gemm"):
                    shape = shape_of(node.outputs[0])
                    weights = shape_of(node.inputs[1])
                    key = f"{node.op_type}{shape}{weights}".replace(" ", "")
                    kernels[key] = Kernel(key, key, 10, 20, 30)
                    called.append(key)
            calls[name] = tuple(called)
        self.calls |= calls
        return LoweredGraphs(calls, kernels)

    def tune(self, keys, target, budget, *, seed, progress=None):
        self.tuned_keys = sorted(keys)
        left = tuple(self.tuned_keys[: self.untuned])
        return TuningReport(len(keys) - len(left), 0, len(keys), 0.1, left)

    def open_bench(self, networks, kernels, target, rng, *, progress=None):
        return KnownBench(self, networks, kernels, rng)


class KnownBench:
    def __init__(self, compiler, networks, kernels, rng):
        self.compiler, self.networks = compiler, list(networks)
        self.kernels, self.rng = sorted(kernels), rng
        self.closed = False

    def round(self, needy, *, warmup, passes):
        self.compiler.samples += 1
        found = [k for k in self.kernels if k not in self.compiler.unmeasured]
        noise = self.rng.normal(1.0, 0.002, len(found))
        times = noise * [seconds_of(key) for key in found]
        yield found, np.stack([times, times], axis=1)
        for name in self.networks:
            whole = OVERHEAD_S + sum(map(seconds_of, self.compiler.calls[name]))
            yield [name], np.array([[whole, whole]]) * self.rng.normal(1.0, 0.002)

    def close(self):
        self.closed = True


def seconds_of(key):
    return 1e-6 * (5 + sum(key.encode()) % 97)


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as opened:
        yield opened


def profile(space, table, compiler, seed=0):
    rng = np.random.default_rng(seed)
    target = get_target("cpu")
    known = table.lookup(SOURCE, "latency_s")
    missing = {key: unit for key, unit in units_of(space).items() if key not in known}
    if not missing:
        return missing
    run = KernelProfile(space, target, compiler, SOURCE, table, PROTOCOL, rng)
    run.run(missing, TuningBudget(), lambda text, share: None)
    return missing


def test_a_block_costs_the_sum_of_its_kernels(space, table):
    compiler = KnownCompiler()

    missing = profile(space, table, compiler)

    rows = table.lookup(SOURCE, "latency_s")
    for key in missing:
        expected = sum(map(seconds_of, compiler.calls[key]))
        assert rows[key].value == pytest.approx(expected, rel=0.01)
        assert rows[key].low <= rows[key].value <= rows[key].high
        assert rows[key].provenance == "measured"
        assert rows[key].repeats >= PROTOCOL.minimum_repeats


def test_every_kernel_is_tuned_and_has_a_row_of_its_own(space, table):
    compiler = KnownCompiler()

    missing = profile(space, table, compiler)

    kernels = {kernel for key in missing for kernel in compiler.calls[key]}
    rows = table.lookup(SOURCE, "latency_s")
    assert kernels <= set(compiler.tuned_keys)
    assert kernels | set(missing) | {reference_key()} <= set(rows)
    described = {kernel.key: kernel for kernel in table.kernels()}
    assert all(described[key].weight_bytes == 30 for key in kernels)
    energy = table.lookup(SOURCE, "energy_j")
    assert {energy[key].provenance for key in rows} == {"modelled"}


def test_whole_networks_calibrate_the_sum(space, table):
    profile(space, table, KnownCompiler())
    costs = compile_costs(space, table, SOURCE, ("latency_s",))
    compiler = KnownCompiler()
    population = space.sample(20, np.random.default_rng(5))

    predicted = costs.cost(population)[:, 0]

    for row, value in zip(population, predicted, strict=True):
        graph = space.network(space.architecture(row))
        calls = compiler.lower({"n": (graph, {})}, None).calls["n"]
        assert value == pytest.approx(OVERHEAD_S + sum(map(seconds_of, calls)), rel=0.01)


def test_what_the_table_has_is_not_measured_again(space, table):
    profile(space, table, KnownCompiler())
    again = KnownCompiler()

    missing = profile(space, table, again, seed=1)

    assert not missing
    assert again.samples == 0


def test_kernels_without_a_tuning_record_end_the_profile_and_leave_no_rows(space, table):
    with pytest.raises(MeasurementError, match=r"2 of \d+ kernels .* not tuned yet.*tune-budget"):
        profile(space, table, KnownCompiler(untuned=2))

    assert not table.lookup(SOURCE, "latency_s")


def test_what_cannot_be_measured_is_named_and_the_samples_are_kept(space, table):
    compiler = KnownCompiler()
    profile_target = next(iter(units_of(space).values())).fragment.graph
    lost = compiler.lower({"x": (profile_target, {})}, None).calls["x"][0]
    run = KernelProfile(
        space,
        get_target("cpu"),
        KnownCompiler(unmeasured=[lost]),
        SOURCE,
        table,
        Protocol(limit_s=0.5, minimum_repeats=8, networks=6),
        np.random.default_rng(0),
    )

    with pytest.raises(MeasurementError, match="no time was left"):
        run.run(units_of(space), TuningBudget(), lambda text, share: None)

    assert not table.lookup(SOURCE, "latency_s")
    assert sum(len(series.keys) for series in table.samples(SOURCE)) > 0
