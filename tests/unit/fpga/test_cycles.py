import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.errors import TargetError
from hwnas.fpga import ArrayLayer, plan_layers, reference_outputs, rtl_hash
from hwnas.fpga.cycles import DEEPEST_PASS
from hwnas.fpga.drawn_layers import SHAPE_CLASSES, draw_layer, draw_shape

GOLDEN = json.loads(Path(__file__).with_name("golden_rtl.json").read_text())
numbers = st.integers(1, 300)
layers = st.builds(ArrayLayer, numbers, numbers, numbers, st.integers(1, 40))


def cycles(layer, side):
    return int(plan_layers([layer], [side]).cycles[0, 0])


def test_golden_results_are_of_the_present_rtl():
    assert GOLDEN["rtl"] == rtl_hash(), (
        "the RTL has changed: run benchmarks/systolic_rtl.py --write-golden "
        "tests/unit/fpga/golden_rtl.json, and characterise the arrays that ship again"
    )
    assert {run["class"] for run in GOLDEN["runs"]} == set(SHAPE_CLASSES)


@pytest.mark.parametrize("side", sorted({run["side"] for run in GOLDEN["runs"]}))
def test_closed_form_and_arithmetic_give_what_the_simulated_rtl_gave(side):
    for run in (run for run in GOLDEN["runs"] if run["side"] == side):
        rng = np.random.default_rng(run["seed"])
        shape = draw_shape(run["class"], rng)
        outputs = reference_outputs(*draw_layer(shape, rng))

        assert cycles(shape, side) == run["cycles"], run
        assert hashlib.sha256(outputs.tobytes()).hexdigest()[:16] == run["outputs"], run


@settings(max_examples=50, deadline=None)
@given(layers, st.integers(2, 16))
def test_no_layer_is_faster_than_its_products_allow(layer, side):
    assert cycles(layer, side) * side**2 >= layer.macs


@settings(max_examples=50, deadline=None)
@given(layers, st.integers(2, 16), st.sampled_from(["pixels", "depth", "channels", "groups"]))
def test_more_work_never_takes_fewer_cycles(layer, side, field):
    more = ArrayLayer(**{**vars(layer), field: getattr(layer, field) + 1})

    assert cycles(more, side) >= cycles(layer, side)


@settings(max_examples=50, deadline=None)
@given(st.lists(layers, max_size=4), st.lists(st.integers(2, 16), min_size=1, max_size=3))
def test_layers_and_sides_are_planned_together_as_alone(some, sides):
    together = plan_layers(some, sides).cycles

    assert together.shape == (len(some), len(sides))
    for row, layer in zip(together, some, strict=True):
        assert row.tolist() == [cycles(layer, side) for side in sides]


def test_a_large_dense_layer_keeps_the_array_busy():
    layer = ArrayLayer(pixels=1024, depth=512, channels=64)

    assert layer.macs / (64 * cycles(layer, 8)) > 0.99


def test_groups_share_passes_where_that_hides_the_way_out():
    layer = ArrayLayer(pixels=64, depth=9, channels=1, groups=32)
    plan = plan_layers([layer], [2, 8])

    assert plan.packed.tolist() == [[1, 2]]  # 9 cycles hide 2 x 2 results, not 2 x 8
    assert plan.cycles[0, 1] < 32 * 8 * 16


def test_sums_that_are_deeper_than_the_banks_are_cut_evenly():
    plan = plan_layers([ArrayLayer(1, DEEPEST_PASS, 1), ArrayLayer(1, DEEPEST_PASS + 1, 1)], [4])

    assert plan.chunks.ravel().tolist() == [1, 2]
    assert plan.depth.ravel().tolist() == [1008, 505]


def test_no_layers_have_no_plans():
    assert plan_layers([], [4]).cycles.shape == (0, 1)


@pytest.mark.parametrize("side", [0, 1, 17])
def test_arrays_that_do_not_exist_are_refused(side):
    with pytest.raises(TargetError, match="each must be 2 to 16"):
        plan_layers([ArrayLayer(1, 1, 1)], [side])
