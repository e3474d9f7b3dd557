import msgspec
import numpy as np
import pytest

from hwnas.accelerators import AcceleratorPoints, dataflow_costs, get_technology, layers_of
from hwnas.backends import get_backend
from hwnas.costs import CostTable, compile_costs
from hwnas.errors import LoweringError, TargetError
from hwnas.graph import GraphBuilder
from hwnas.profiling import profile_space, source_of
from hwnas.spaces import get_space
from hwnas.targets import get_target

TARGETS = ("asic_eyeriss_like", "asic_nvdla_like", "asic_shidiannao_like", "asic_two_core")


@pytest.fixture
def two_cores():
    return get_target("asic_two_core")


def changed(target, **core):
    chip = target.accelerator
    cores = tuple(msgspec.structs.replace(each, **core) for each in chip.cores)
    return msgspec.structs.replace(target, accelerator=msgspec.structs.replace(chip, cores=cores))


@pytest.mark.parametrize("name", TARGETS)
def test_costs_of_a_network_are_the_sum_of_its_blocks(name, tmp_path):
    target, space = get_target(name), get_space("mbconv-digits")
    backend = get_backend(target)
    source = source_of(target, backend)
    with CostTable(tmp_path / "t.sqlite") as table:
        profile_space(space, target, table, rng=np.random.default_rng(0))
        costs = compile_costs(space, table, source, ("latency_s", "energy_j", "latency_cycles"))
    drawn = space.sample(5, np.random.default_rng(1))

    predicted = costs.cost(drawn)

    for row, line in zip(drawn, predicted, strict=True):
        whole = backend.kernel_costs(space.network(space.architecture(row)), target)
        wanted = [whole[name] for name in ("latency_s", "energy_j", "latency_cycles")]
        np.testing.assert_allclose(line, wanted, rtol=1e-5)
    assert costs.provenance == ("modelled",) * 3


def test_a_layer_runs_on_the_core_that_is_faster_for_it(two_cores):
    space = get_space("mbconv-digits")
    graph = space.network(space.largest())
    chip = two_cores.accelerator
    points = AcceleratorPoints.of(
        [core.dataflow for core in chip.cores],
        [core.pes for core in chip.cores],
        [core.bandwidth for core in chip.cores],
        l1_bytes=[core.l1_bytes for core in chip.cores],
        l2_bytes=[core.l2_bytes for core in chip.cores],
        dram_bandwidth=chip.dram_bandwidth_bytes_per_s / chip.clock_hz,
    )
    apart = dataflow_costs(layers_of(graph), points, get_technology(chip.technology)).cycles

    cycles = get_backend(two_cores).kernel_costs(graph, two_cores)["latency_cycles"]

    assert cycles == apart.min(axis=1).sum()
    assert len(set(apart.argmin(axis=1))) == 2


def test_a_layer_that_fits_nowhere_is_named_with_what_it_needs(two_cores):
    space = get_space("mbconv-digits")
    graph = space.network(space.largest())

    with pytest.raises(TargetError, match=r"layer 'stage1.1/.*' does not fit .* of 294 and \d+"):
        get_backend(two_cores).kernel_costs(graph, changed(two_cores, l1_bytes=64))


def test_a_layer_that_cannot_be_mapped_is_refused(two_cores):
    builder = GraphBuilder("graph")
    x = builder.input("x", (1, 4, 8, 8))
    builder.output(builder.relu(x), "y")
    graph = builder.build()
    graph.nodes[0].op_type = "GridSample"

    with pytest.raises(LoweringError, match="operator GridSample"):
        get_backend(two_cores).kernel_costs(graph, two_cores)


def test_work_on_the_way_out_costs_nothing(two_cores):
    builder = GraphBuilder("graph")
    builder.output(builder.relu(builder.input("x", (1, 4, 8, 8))), "y")

    costs = get_backend(two_cores).kernel_costs(builder.build(), two_cores)

    assert set(costs.values()) == {0.0}


def test_an_unknown_technology_is_said_before_anything_is_costed(two_cores):
    chip = msgspec.structs.replace(two_cores.accelerator, technology="phys3")
    target = msgspec.structs.replace(two_cores, accelerator=chip)

    found = get_backend(target).is_available(target)

    assert not found.works
    assert "unknown technology 'phys3'" in found.reason


def test_a_target_without_cores_does_not_work(two_cores):
    target = msgspec.structs.replace(two_cores, accelerator=None)

    assert "no [accelerator]" in get_backend(target).is_available(target).reason
    with pytest.raises(TargetError, match=r"has no \[accelerator\]"):
        get_backend(target).runtime(target)


def test_the_clock_is_part_of_the_fingerprint_and_sources_are_not(two_cores):
    chip = two_cores.accelerator
    faster = msgspec.structs.replace(
        two_cores, accelerator=msgspec.structs.replace(chip, clock_hz=2e9)
    )
    told = msgspec.structs.replace(
        two_cores, accelerator=msgspec.structs.replace(chip, reference="another")
    )

    assert faster.fingerprint != two_cores.fingerprint
    assert told.fingerprint == two_cores.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pes = 64", "pes = 0"), "pes of a core is 0, not 1 to 1048576"),
        (("bandwidth = 64", "bandwidth = -1"), "bandwidth of a core is -1"),
        (("clock_hz = 1.0e9", "clock_hz = 0.0"), "and a clock"),
        (("clock_hz = 1.0e9", "clock_hz = inf"), "clock_hz is inf"),
        (('dataflow = "shi"', 'dataflow = "tpu"'), "is not a device file"),
    ],
)
def test_impossible_chips_are_refused(tmp_path, change, message):
    from importlib.resources import files

    own = files("hwnas.data").joinpath("targets", "asic_shidiannao_like", "device.toml")
    text = own.read_text()
    assert change[0] in text
    file = tmp_path / "device.toml"
    file.write_text(text.replace(*change))

    with pytest.raises(TargetError, match=message):
        get_target(str(file))
