import collections
import dataclasses
import signal
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from hwnas.backends import get_backend
from hwnas.costs import CostTable, compile_costs
from hwnas.errors import MeasurementError, TargetError
from hwnas.profiling import Protocol, profile_space, source_of
from hwnas.profiling.block_bench import EMPTY_KEY
from hwnas.profiling.reference import reference_graph, reference_key
from hwnas.profiling.units import units_of
from hwnas.spaces import get_space
from hwnas.targets import get_target

SIMULATED = get_target("simulated")
CPU = get_target("cpu")
# Energy by formula: reading counters takes 0.3 s a block.
CPU = msgspec.structs.replace(CPU, energy=msgspec.structs.replace(CPU.energy, source="model"))
QUICK = Protocol(interval=100.0, minimum_repeats=1, limit_s=60.0, passes=1, warmup=0, networks=4)


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "t.sqlite") as opened:
        yield opened


def profile(space, target, table, **change):
    protocol = dataclasses.replace(QUICK, **change)
    return profile_space(space, target, table, protocol=protocol, rng=np.random.default_rng(0))


def test_a_modelled_space_is_filled_by_its_formula(table):
    space = get_space("mbconv-digits")
    backend = get_backend(SIMULATED)

    summary = profile(space, SIMULATED, table)

    units = units_of(space)
    assert (summary.units, summary.measured, summary.weak) == (63, 63, 0)
    assert {k.key for k in table.kernels()} == set(units)
    for metric in ("latency_s", "energy_j"):
        rows = table.lookup(source_of(SIMULATED, backend), metric)
        assert rows.keys() == units.keys()
        for key, row in rows.items():
            graph = units[key].fragment.graph
            assert (
                row.value == row.low == row.high == backend.kernel_costs(graph, SIMULATED)[metric]
            )
            assert (row.repeats, row.provenance) == (0, "simulated")


def test_what_the_table_has_is_not_done_again(table):
    space = get_space("mbconv-digits")
    profile(space, SIMULATED, table)
    before = list(table.rows())

    summary = profile(space, SIMULATED, table)

    assert (summary.units, summary.measured) == (63, 0)
    assert list(table.rows()) == before


def test_a_space_that_shares_blocks_is_filled_up(table):
    small, large = get_space("mbconv-digits"), get_space("mbconv-digits@48")
    profile(small, SIMULATED, table)

    summary = profile(large, SIMULATED, table)

    shared = set(units_of(small)) & set(units_of(large))
    assert summary.measured == len(units_of(large)) - len(shared)


def test_a_target_that_does_not_work_here_is_refused_with_the_reason(table):
    odd = msgspec.structs.replace(SIMULATED, peak=None)

    with pytest.raises(TargetError, match=r"does not work here: no \[peak\] rates; add \[peak\]"):
        profile(get_space("mbconv-digits"), odd, table)


def test_this_machine_is_measured_and_then_nothing_is_left_to_do(table):
    space = get_space("mbconv-digits")
    texts = []

    summary = profile_space(
        space,
        CPU,
        table,
        protocol=QUICK,
        rng=np.random.default_rng(0),
        progress=lambda text, share: texts.append((text, share)),
    )

    source = source_of(CPU, get_backend(CPU))
    rows = table.lookup(source, "latency_s")
    assert (summary.units, summary.measured) == (63, 63)
    assert set(units_of(space)) <= set(rows)
    assert reference_key() in rows
    assert all(0 < r.value < 1 and r.provenance == "measured" for r in rows.values())
    assert all(r.low <= r.value <= r.high and r.repeats >= 1 for r in rows.values())
    assert {r.provenance for r in table.lookup(source, "energy_j").values()} == {"modelled"}
    assert 3 <= len(table.networks(space.name)) <= 4
    assert set(table.networks(space.name).values()) <= set(rows)
    assert compile_costs(space, table, source).provenance[0] == "measured"
    assert texts
    assert all(0 <= share <= 1 for _, share in texts)

    sessions = len(table.samples(source))
    again = profile(space, CPU, table)

    assert again.measured == 0
    assert len(table.samples(source)) == sessions
    assert table.lookup(source, "latency_s") == rows


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
import hwnas.profiling.recorder as recorder
from hwnas.costs import CostTable
from hwnas.profiling import Protocol, profile_space
from hwnas.spaces import get_space
import msgspec
from hwnas.targets import Target

recorder._FLUSH_S = 0.1
flush = recorder.Recorder.flush
flushed = []

def flush_and_die(self):
    flush(self)
    flushed.append(1)
    if len(flushed) == 4:  # the first holds little: compiling took long
        os.kill(os.getpid(), signal.SIGKILL)

recorder.Recorder.flush = flush_and_die
target = msgspec.json.decode(sys.argv[2], type=Target)
protocol = Protocol(interval=1e-9, limit_s=60.0, passes=1, warmup=0, networks=4)
table = CostTable(Path(sys.argv[1]))
space = get_space("mbconv-digits")
profile_space(space, target, table, protocol=protocol, rng=np.random.default_rng(1))
"""


def test_a_killed_profile_goes_on_with_the_samples_that_it_had(tmp_path):
    path = tmp_path / "t.sqlite"
    arguments = [sys.executable, "-c", KILLED, str(path), msgspec.json.encode(CPU).decode()]

    killed = subprocess.run(arguments, timeout=120, capture_output=True, text=True, check=False)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    space = get_space("mbconv-digits")
    source = source_of(CPU, get_backend(CPU))
    with CostTable(path, create=False) as table:
        (first,) = table.samples(source)
        assert len(first.keys) > 0
        assert table.lookup(source, "latency_s") == {}

        summary = profile(space, CPU, table)

        both = table.samples(source)
        taken = collections.Counter(i.split("#")[0] for series in both for i in series.keys)
        rows = table.lookup(source, "latency_s")
        assert len(both) == 2
        assert both[0].latency_s.tolist() == first.latency_s.tolist()
        assert summary.measured == 63
        assert all(row.repeats == taken[key] for key, row in rows.items())
        early = collections.Counter(item.split("#")[0] for item in first.keys)
        assert all(rows[key].repeats >= n for key, n in early.items() if key in rows)
        assert early[EMPTY_KEY] > 0


def test_the_reference_kernel_stays_what_it_is():
    # Tables of different days are brought to one speed by it.
    assert reference_key() == "7857d0d35831ade74dfbb8a962bb2ef4"
    assert len(reference_graph().nodes) == 6


def test_a_block_that_cannot_be_cut_out_is_named(tmp_path, monkeypatch):
    backend = type(get_backend(CPU))
    cut = backend.compile_blocks

    def without_the_stem(self, graph, weights, blocks, target):
        return {n: b for n, b in cut(self, graph, weights, blocks, target).items() if n != "stem"}

    monkeypatch.setattr(backend, "compile_blocks", without_the_stem)

    with (
        CostTable(tmp_path / "t.sqlite") as table,
        pytest.raises(MeasurementError, match="'stem' first"),
    ):
        profile(get_space("mbconv-digits"), CPU, table)


def test_a_space_of_blocks_with_several_inputs_is_measured(table):
    space = get_space("cells-digits")

    summary = profile(space, CPU, table)

    source = source_of(CPU, get_backend(CPU))
    assert (summary.units, summary.measured) == (56, 56)
    assert set(units_of(space)) <= set(table.lookup(source, "latency_s"))
    assert compile_costs(space, table, source).provenance[0] == "measured"


def test_a_block_that_one_network_does_not_yield_is_cut_out_of_another(table, monkeypatch):
    backend = type(get_backend(CPU))
    cut = backend.compile_blocks
    space = get_space("mbconv-digits")

    def rarely_the_stem(self, graph, weights, blocks, target):
        pieces = cut(self, graph, weights, blocks, target)
        sought = list(blocks) == ["stem"]  # when all others are there
        return {n: b for n, b in pieces.items() if n != "stem" or sought}

    monkeypatch.setattr(backend, "compile_blocks", rarely_the_stem)

    summary = profile(space, CPU, table)

    rows = table.lookup(source_of(CPU, get_backend(CPU)), "latency_s")
    assert summary.measured == 63
    assert set(units_of(space)) <= set(rows)
