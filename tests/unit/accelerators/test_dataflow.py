import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.accelerators import (
    AcceleratorPoints,
    Layers,
    dataflow_costs,
    dataflow_parts,
    get_technology,
    points_of_options,
)
from hwnas.accelerators.points import DATAFLOWS
from hwnas.errors import SpaceError
from hwnas.spaces import get_hardware_space
from hwnas.testing.oracles.dataflow import loop_nest_costs

MAESTRO = "accelerators/maestro.csv"

sizes = st.integers(1, 40)
windows = st.integers(1, 7)
strides = st.integers(1, 3)


def unlimited(dataflow, pes, bandwidth, hop_latency=1):
    return AcceleratorPoints.of(
        [dataflow], pes, bandwidth, hop_latency=hop_latency, l1_bytes=0, l2_bytes=0
    )


@settings(max_examples=600, deadline=None)
@given(
    dataflow=st.sampled_from(DATAFLOWS),
    depthwise=st.booleans(),
    groups=st.integers(1, 3),
    k=sizes,
    c=st.integers(1, 150),
    window=st.tuples(windows, windows),
    places=st.tuples(sizes, sizes),
    stride=st.tuples(strides, strides),
    pes=st.integers(7, 600),
    bandwidth=st.integers(1, 300),
    hop_latency=st.integers(0, 3),
)
def test_closed_forms_equal_the_count_over_all_steps(
    dataflow, depthwise, groups, k, c, window, places, stride, pes, bandwidth, hop_latency
):
    if depthwise:
        groups = k = 1
    row = [int(depthwise), groups, k, c, *window, *places, *stride]
    layers = Layers(np.array([row], dtype=np.int32), ("layer",))
    named = dict(
        zip(("K", "C", "R", "S", "OY", "OX", "stride_y", "stride_x"), row[2:], strict=True)
    )

    parts = dataflow_parts(layers, unlimited(dataflow, pes, bandwidth, hop_latency))

    wanted = loop_nest_costs(
        dataflow,
        {**named, "groups": groups, "depthwise": int(depthwise)},
        pes,
        bandwidth,
        hop_latency,
    )
    assert parts.cycles.item() == wanted.cycles
    assert parts.input_reads.item() == wanted.input_reads
    assert parts.weight_reads.item() == wanted.weight_reads
    assert parts.output_writes.item() == wanted.output_writes
    assert parts.l2_bytes.item() == 2 * wanted.first_elements
    assert parts.macs.item() == int(np.prod([int(i) for i in row[1:8]]))


def test_cycles_and_accesses_are_those_of_the_reference_program():
    root = os.environ.get("HWNAS_PUBLISHED_DATA") or Path(__file__).parents[4] / "shared/data"
    path = Path(root) / MAESTRO
    if not path.is_file():
        pytest.skip(f"no {MAESTRO}; set HWNAS_PUBLISHED_DATA")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataflow"] in DATAFLOWS]
    columns = ("K", "C", "R", "S", "OY", "OX", "stride", "stride")
    table = [
        [int(row["type"] == "DSCONV"), 1, *(int(row[name]) for name in columns)] for row in rows
    ]

    for row, line in zip(rows, table, strict=True):
        layers = Layers(np.array([line], dtype=np.int32), (row["layer"],))
        point = unlimited(
            row["dataflow"],
            int(row["pes"]),
            int(row["noc_bw_elem_per_cycle"]),
            int(row["noc_hop_latency"]),
        )
        parts = dataflow_parts(layers, point)

        assert parts.cycles.item() == int(row["cycles"])
        assert parts.input_reads.item() == int(row["in_l2_rd"])
        assert parts.weight_reads.item() == int(row["w_l2_rd"])
        assert parts.l1_bytes.item() == int(row["l1_bytes_req"])
        # The reference loses one result a step where a first step does not fill the array.
        assert parts.output_writes.item() == pytest.approx(int(row["o_l2_wr"]), rel=0.003)
    assert len(rows) > 700


def test_costs_of_a_batch_are_those_of_its_members(layer, convolution):
    depthwise = layer(kind=1, c=96, r=5, s=5, oy=14, ox=14)
    layers = Layers.join([convolution, depthwise])
    points = AcceleratorPoints.of(["dla", "shi", "rs"], [64, 128, 192], [16, 32, 64])
    technology = get_technology("phys45")

    together = dataflow_costs(layers, points, technology)

    for row, one in enumerate((convolution, depthwise)):
        for column, name in enumerate(("dla", "shi", "rs")):
            point = AcceleratorPoints.of([name], 64 * (column + 1), 16 << column)
            apart = dataflow_costs(one, point, technology)
            assert together.cycles[row, column] == apart.cycles.item()
            assert together.energy_j[row, column] == apart.energy_j.item()


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_more_bandwidth_is_never_slower(dataflow, convolution):
    points = AcceleratorPoints.of([dataflow] * 64, 256, np.arange(1, 65), l1_bytes=512)

    cycles = dataflow_costs(convolution, points, get_technology("phys45")).cycles[0]

    assert (np.diff(cycles) <= 0).all()


def test_a_layer_that_does_not_fit_is_infinite_not_cheap(layer):
    wide = layer(k=64, c=64, r=7, s=7, oy=56, ox=56)  # 294 bytes a PE

    costs = dataflow_costs(
        wide, AcceleratorPoints.of(["dla"], 256, 64, l1_bytes=293), get_technology("phys45")
    )
    fitting = dataflow_costs(
        wide, AcceleratorPoints.of(["dla"], 256, 64, l1_bytes=294), get_technology("phys45")
    )

    assert np.isinf(costs.cycles).all()
    assert np.isinf(costs.energy_j).all()
    assert costs.utilisation.item() == 0.0
    assert 0.0 < fitting.utilisation.item() <= 1.0


def test_utilisation_is_never_above_one(layer, convolution):
    layers = Layers.join([convolution, layer(kind=1, c=384, r=3, s=3, oy=14, ox=14)])
    points = points_of_options(get_hardware_space("accelerator"))

    costs = dataflow_costs(layers, points, get_technology("maestro2020"))

    assert (costs.utilisation <= 1.0).all()
    assert (costs.utilisation[np.isfinite(costs.cycles)] > 0.0).all()


def test_energy_is_the_sum_over_accesses(convolution):
    technology = get_technology("phys45")
    point = AcceleratorPoints.of(["shi"], 512, 32, l1_bytes=512)
    mac, l1, l2, dram = point.access_j(technology)[0]

    found = dataflow_costs(convolution, point, technology).energy_j.item()

    parts = dataflow_parts(convolution, point)
    assert found == pytest.approx(
        mac * parts.macs.item()
        + l1 * parts.l1_accesses.item()
        + l2 * parts.l2_accesses.item()
        + dram * parts.dram_bytes.item()
    )


def test_tensors_that_stay_in_the_shared_buffer_cross_dram_once(convolution):
    once = 64 * 58 * 58 + 64 * 64 * 9 + 64 * 56 * 56

    large = dataflow_parts(convolution, AcceleratorPoints.of(["shi"], 64, 64, l2_bytes=1 << 20))
    small = dataflow_parts(convolution, AcceleratorPoints.of(["shi"], 64, 64, l2_bytes=1 << 10))

    assert large.dram_bytes.item() == once
    assert small.dram_bytes.item() > 10 * once


def test_nothing_to_cost_is_an_empty_table(layer):
    costs = dataflow_costs(
        Layers.join([]), AcceleratorPoints.of(["dla"], 64, 8), get_technology("phys45")
    )

    assert costs.cycles.shape == (0, 1)


@pytest.mark.parametrize("field", ["k", "c", "r", "s", "oy", "ox", "stride_y", "stride_x"])
@pytest.mark.parametrize("size", [0, -1, 2**31 - 1])
def test_impossible_sizes_are_refused(layer, field, size):
    with pytest.raises(SpaceError, match="layer 0 has a s"):
        dataflow_parts(layer(**{field: size}), unlimited("dla", 64, 64))


def test_a_technology_that_depends_on_buffers_needs_their_sizes(convolution):
    with pytest.raises(SpaceError, match="needs the sizes of all buffers"):
        dataflow_costs(convolution, unlimited("dla", 64, 64), get_technology("phys45"))
