from dataclasses import replace

import msgspec
import numpy as np
import pytest

from hwnas.backends import ModellingBackend, get_backend
from hwnas.costs import CostTable, compile_costs
from hwnas.errors import TargetError
from hwnas.fpga import characterisation, rtl_hash, summarise_array
from hwnas.fpga.operators import graph_cycles
from hwnas.graph import GraphBuilder
from hwnas.profiling import profile_space, source_of
from hwnas.spaces import get_space
from hwnas.targets import get_target


@pytest.fixture
def target(monkeypatch, tmp_path):
    monkeypatch.setattr(characterisation, "default_rows_path", lambda: tmp_path / "rows.csv")
    return get_target("ecp5_25f")


def conv():
    g = GraphBuilder("conv")
    g.output(g.conv(g.input("x", (1, 4, 8, 8)), 16, 3, name="conv"), "output")
    return g.build()


def with_array(target, **changes):
    return msgspec.structs.replace(target, fpga=msgspec.structs.replace(target.fpga, **changes))


def test_latency_is_cycles_over_the_median_clock(target):
    backend = get_backend(target)

    latency_s = backend.kernel_costs(conv(), target)["latency_s"]

    clock = summarise_array(target.fpga).frequency_hz
    assert isinstance(backend, ModellingBackend)
    assert latency_s == pytest.approx(graph_cycles(conv(), target.fpga.side).total / clock)


def test_energy_is_modelled_from_operations_and_int8_bytes(target):
    costs = get_backend(target).kernel_costs(conv(), target)

    macs, moved = 64 * 16 * 36, 64 * (4 + 16) + 16 * 36
    energy = target.energy
    assert costs["energy_j"] == pytest.approx(
        energy.energy_j_per_mac * macs + energy.energy_j_per_byte * moved
    )
    assert get_backend(target).provenance == "modelled"


def test_the_runtime_names_the_rtl_and_the_clock(target):
    row = summarise_array(target.fpga).rows[0]
    before = get_backend(target).runtime(target)

    faster = [replace(row, seed=100 + seed, frequency_hz=200e6) for seed in range(20)]
    characterisation.write_rows(characterisation.default_rows_path(), faster)

    assert rtl_hash() in before
    assert before.endswith(" MHz")
    assert get_backend(target).runtime(target) == f"systolic 1 {rtl_hash()} at 200.00 MHz"


def test_a_space_is_profiled_and_compiled_like_on_any_target(target, tmp_path):
    space = get_space("mbconv-digits")
    backend = get_backend(target)

    with CostTable(tmp_path / "costs.sqlite") as table:
        profile_space(space, target, table, rng=np.random.default_rng(0))
        costs = compile_costs(space, table, source_of(target, backend))

    some = costs.cost(space.sample(8, np.random.default_rng(0)))
    assert set(costs.provenance) == {"modelled"}
    assert (some > 0).all()


def test_an_array_without_a_clock_says_what_to_run(target):
    other = with_array(target, side=3, package="CABGA256")

    found = get_backend(other).is_available(other)

    assert not found.works
    assert "3x3 array has not been placed and routed on ecp5 25k" in found.reason
    assert found.remedy.startswith("hwnas characterize --target ecp5_25f")
    with pytest.raises(TargetError, match="hwnas characterize"):
        get_backend(other).kernel_costs(conv(), other)


def test_a_target_without_an_fpga_is_refused(target):
    other = msgspec.structs.replace(target, fpga=None)

    assert not get_backend(other).is_available(other).works
    with pytest.raises(TargetError, match=r"has no \[fpga\] section"):
        get_backend(other).runtime(other)


def test_a_table_that_is_none_is_reported_and_not_raised(target):
    characterisation.default_rows_path().write_text("nonsense")

    found = get_backend(target).is_available(target)

    assert not found.works
    assert "rows.csv has columns" in found.reason
