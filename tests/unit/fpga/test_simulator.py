import numpy as np
import pytest

from hwnas.errors import MeasurementError, PluginError
from hwnas.fpga import ArrayLayer, plan_layers, reference_outputs, tools
from hwnas.fpga.drawn_layers import SHAPE_CLASSES, draw_layer, draw_shape
from hwnas.fpga.simulator import ArraySimulator, build_simulator, simulator_kinds

needs_simulator = pytest.mark.skipif(
    not simulator_kinds(), reason="needs the extra fpga or Verilator, and a C++ compiler"
)


@pytest.fixture(scope="module", params=[True, False], ids=["dsp", "adders"])
def simulator(request):
    with ArraySimulator(3, dsp_scaling=request.param) as simulator:
        yield simulator


@needs_simulator
@pytest.mark.parametrize("kind", SHAPE_CLASSES)
def test_rtl_gives_the_models_outputs_in_the_closed_forms_cycles(simulator, kind):
    rng = np.random.default_rng(7)
    shape = draw_shape(kind, rng)
    patches, layer = draw_layer(shape, rng)

    found = simulator.run(patches, layer)

    assert np.array_equal(found.outputs, reference_outputs(patches, layer))
    assert found.cycles == found.predicted_cycles == plan_layers([shape], [3]).cycles[0, 0]


@needs_simulator
@pytest.mark.parametrize("stall_share", [0.2, 0.9])
def test_feeders_that_wait_cost_cycles_and_no_outputs(simulator, stall_share):
    rng = np.random.default_rng(8)
    patches, layer = draw_layer(ArrayLayer(40, 27, 20), rng)

    found = simulator.run(patches, layer, stall_share=stall_share, seed=3)

    assert np.array_equal(found.outputs, reference_outputs(patches, layer))
    assert found.cycles > found.predicted_cycles


@needs_simulator
def test_feeders_that_never_feed_are_refused(simulator):
    patches, layer = draw_layer(ArrayLayer(1, 1, 1), np.random.default_rng(0))

    with pytest.raises(MeasurementError, match="never feed"):
        simulator.run(patches, layer, stall_share=1.0)


@needs_simulator
def test_layers_beyond_the_counters_are_refused(simulator):
    patches, layer = draw_layer(ArrayLayer(3 * 2**16 + 1, 1, 1), np.random.default_rng(0))

    with pytest.raises(MeasurementError, match="more tiles than the array's counters"):
        simulator.run(patches, layer)


def test_a_missing_simulator_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(tools, "find_yosys", lambda: None)
    monkeypatch.setattr(tools, "find_verilator", lambda: None)

    with pytest.raises(PluginError, match=r"pip install 'hwnas\[fpga\]'"):
        build_simulator(4)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(tools, "find_compiler", lambda: None)

    with pytest.raises(PluginError, match=r"C\+\+ compiler is not installed: Debian: apt install"):
        build_simulator(4)


def test_arrays_of_other_sides_cannot_be_built():
    with pytest.raises(PluginError, match="no array of side 1"):
        build_simulator(1)
