"""Tiles: those of a space compile to the same results, whatever the kernel and the processor."""

import numpy as np
import pytest

from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.tvm_worker import find_tvm

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

import tvm

from hwnas.tvm_worker.kernels import calls_of
from hwnas.tvm_worker.relax_module import fuse, import_onnx
from hwnas.tvm_worker.tuning.schedules import Tile, apply_tile, loops_of, new_schedule, tile_of
from hwnas.tvm_worker.tuning.sketches import sketches
from hwnas.tvm_worker.tuning.tiles import (
    VectorUnit,
    nearest,
    neighbours,
    tiles,
    unlikeness,
    vector_unit,
)

AARCH64 = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a76", "num-cores": 4}
TRIED = 6  # tiles of each kernel


def target_of(**attributes):
    return tvm.target.Target({"kind": "llvm", "num-cores": 1, **attributes})


def kernel(emit, shape):
    """The function of the one operator that `emit` makes, as it stands between maps."""
    builder = GraphBuilder("one")
    builder.output(emit(builder, builder.input("x", shape)), "y")
    graph = builder.build()
    weights = random_weights(graph, np.random.default_rng(0))
    module = fuse(import_onnx(to_onnx(graph, weights).SerializeToString()), piece=True)
    names = dict.fromkeys(calls_of(module))
    return module[max(names, key=lambda name: len(module[name].script()))]


def depthwise(builder, x):
    return builder.relu6(builder.conv(x, 12, 3, name="c", stride=2, group=12, bias=True))


KERNELS = {
    "pointwise": kernel(lambda b, x: b.conv(x, 24, 1, name="c", bias=True), (1, 8, 6, 6)),
    "residual": kernel(lambda b, x: b.add(b.conv(x, 8, 1, name="c"), x), (1, 8, 6, 6)),
    "depthwise": kernel(depthwise, (1, 12, 9, 9)),
    "stem": kernel(lambda b, x: b.relu(b.conv(x, 16, 3, name="c", stride=2)), (1, 3, 12, 12)),
    "grouped": kernel(lambda b, x: b.conv(x, 16, 3, name="c", group=4), (1, 8, 7, 7)),
    "hard swish": kernel(lambda b, x: b.hard_swish(b.conv(x, 8, 1, name="c")), (1, 8, 5, 5)),
    "dense": kernel(lambda b, x: b.gemm(x, 10, name="c"), (1, 16)),
    "max pool": kernel(lambda b, x: b.max_pool(x, 3, stride=2), (1, 8, 9, 9)),
    "average pool": kernel(lambda b, x: b.average_pool(x, 3), (1, 8, 6, 6)),
    "mean": kernel(lambda b, x: b.global_average_pool(x), (1, 16, 7, 7)),
    "sum": kernel(lambda b, x: b.relu(b.add(x, x)), (1, 8, 6, 6)),
}


def arguments_of(function):
    rng = np.random.default_rng(1)
    sides = [[int(side) for side in parameter.ty.shape] for parameter in function.params]
    return [tvm.runtime.tensor(rng.standard_normal(s).astype(np.float32)) for s in sides]


def result_of(schedule, function, target):
    arguments = arguments_of(function)
    tvm.tirx.build(schedule.mod, target=target)["main"](*arguments)
    return arguments[-1].numpy()


@pytest.mark.parametrize("name", KERNELS)
def test_tiles_do_not_change_the_result(name):
    function, target = KERNELS[name], target_of(mcpu=tvm.target.codegen.llvm_get_system_cpu())
    loops = loops_of(function)
    expected = result_of(new_schedule(function), function, target)
    space = tiles(loops, vector_unit(target))

    picked = [space[index] for index in np.linspace(0, len(space) - 1, TRIED).astype(int)]
    for tile in dict.fromkeys(picked):
        schedule = new_schedule(function)
        apply_tile(schedule, tile)
        found = result_of(schedule, function, target)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=str(tile))


def test_a_schedule_leaves_the_function_alone():
    function = KERNELS["sum"]
    before = function.script()

    apply_tile(new_schedule(function), Tile(rows=2, vectors=1, lanes=4))

    assert function.script() == before


def test_a_trace_tells_its_tile():
    tile = Tile(rows=3, vectors=2, lanes=4, unroll=2, order="columns in band", pad="copy")
    schedule = new_schedule(KERNELS["pointwise"])

    apply_tile(schedule, tile)

    assert tile_of(schedule.trace) == tile
    assert tile_of(new_schedule(KERNELS["pointwise"]).trace) is None


@pytest.mark.parametrize(
    ("attributes", "unit"),
    [
        ({"mcpu": "znver4"}, VectorUnit(16, 32)),
        ({"mcpu": "haswell"}, VectorUnit(8, 16)),
        ({}, VectorUnit(4, 16)),
        (AARCH64, VectorUnit(4, 32)),
    ],
)
def test_vectors_are_the_targets_not_this_machines(attributes, unit):
    assert vector_unit(target_of(**attributes)) == unit


def test_tiles_for_neon_become_fused_multiply_adds_of_its_registers():
    target, function = target_of(**AARCH64), KERNELS["pointwise"]
    schedule = new_schedule(function)

    apply_tile(schedule, tiles(loops_of(function), vector_unit(target))[0])

    code = tvm.tirx.build(schedule.mod, target=target).inspect_source("asm")
    assert "fmla" in code
    assert ".4s" in code


def test_all_tiles_divide_the_kernel_and_fit_the_registers():
    loops, unit = loops_of(KERNELS["pointwise"]), VectorUnit(4, 16)

    space = tiles(loops, unit)

    assert len(set(space)) == len(space)
    for tile in space:
        assert loops.columns % (tile.vectors * tile.lanes) == 0
        assert loops.rows % tile.rows == 0
        assert tile.rows * tile.vectors + tile.vectors < unit.registers


def test_neighbours_and_nearest_stay_in_the_space():
    space = tiles(loops_of(KERNELS["depthwise"]), VectorUnit(4, 32))

    near = neighbours(space[0], space)

    assert near
    assert space[0] not in near
    assert set(near) <= set(space)
    assert nearest(space[3], space) == space[3]


def test_kernels_of_different_kinds_are_not_alike():
    loops = {name: loops_of(function) for name, function in KERNELS.items()}

    assert unlikeness(loops["pointwise"], loops["depthwise"]) == np.inf
    assert unlikeness(loops["pointwise"], loops["pointwise"]) == 0
    assert 0 < unlikeness(loops["pointwise"], loops["residual"]) < np.inf


def test_kernels_with_several_reductions_are_scheduled_by_sketches():
    x = tvm.te.placeholder((32, 48), "float32", "x")
    function = tvm.te.create_prim_func([x, tvm.topi.nn.softmax(x)])
    target = target_of(mcpu=tvm.target.codegen.llvm_get_system_cpu())
    expected = result_of(new_schedule(function), function, target)

    assert loops_of(function) is None
    found = list(sketches(function, target, seed=1, rounds=2))
    assert found
    for schedule in found:
        result = result_of(schedule, function, target)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)
