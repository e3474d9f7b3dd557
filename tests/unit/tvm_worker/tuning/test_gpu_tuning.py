"""Tuning for GPUs: every schedule in turn, the fastest kept, wrong ones never."""

from functools import cache

import numpy as np
import pytest

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.messages import CodeTarget

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

import tvm

from hwnas.tvm_worker.building import target_of
from hwnas.tvm_worker.gpu_schedules import SCHEDULES, schedule_as
from hwnas.tvm_worker.kernels import calls_of, kernels_of
from hwnas.tvm_worker.networks import compile_networks, untuned_kernels
from hwnas.tvm_worker.relax_module import fuse, import_onnx
from hwnas.tvm_worker.tuning.gpu_measuring import measure_on_gpu
from hwnas.tvm_worker.tuning.gpu_records import GpuRecords
from hwnas.tvm_worker.tuning.gpu_tuner import tune_on_gpu
from hwnas.tvm_worker.tuning.tuner import apply_database

GPU, PROCESSOR = target_of(CodeTarget(cuda="sm_90")), target_of(CodeTarget())
WIDE = "matmul 8x32 of 2x2, 16 deep"


@cache
def module():
    """A product and a depthwise convolution, with what changes their layout."""
    b = GraphBuilder("two")
    y = b.relu(b.conv(b.input("x", (1, 16, 14, 14)), 72, 1, name="product", bias=True))
    b.output(b.conv(y, 72, 3, name="depthwise", group=72, bias=True), "y")
    graph = b.build()
    content = model_bytes(graph, random_weights(graph, np.random.default_rng(0)))
    return fuse(import_onnx(content))


def product():
    (found,) = (k for k in kernels_of(module()).values() if " 1x1x16x72" in k.signature)
    return found.function


class FakeGpu:
    """Times that schedules are given; the rest takes 1 s."""

    def __init__(self, **seconds):
        self.seconds = seconds
        self.batches = []

    def measure(self, candidates, target):
        assert target is GPU
        self.batches.append(len(candidates))
        return [self.time_of(candidate["main"]) for candidate in candidates]

    def time_of(self, function):
        script = function.script()
        if "T.thread_binding(T.int64(64)" in script or "T.thread_binding(64" in script:
            return self.seconds.get("threads64", 1.0)
        return 1.0 + 1e-6 * len(script)

    def close(self):
        raise AssertionError("whoever gave the runner closes it")


def tune(folder, runner, *, limit_s=None, trials=None):
    return tune_on_gpu(
        module(),
        GPU,
        folder,
        limit_s=limit_s,
        trials=trials,
        on_progress=lambda *_: None,
        runner=runner,
    )


def test_every_schedule_is_tried_once_and_the_fastest_is_kept(tmp_path):
    runner = FakeGpu(threads64=1e-3)

    summary = tune(tmp_path, runner)
    again = tune(tmp_path, runner)

    kernels = list(dict.fromkeys(calls_of(module())))
    records = GpuRecords(tmp_path, GPU)
    assert (summary.tuned, summary.left) == (len(kernels), ())
    assert summary.trials == sum(runner.batches) > 10
    assert (again.reused, again.trials) == (len(kernels), 0)
    best = [records.best(module()[name]) for name in kernels]
    assert {record.schedule for record in best} >= {"thread per result, 64"}
    assert all(record.schedule in record.tried for record in best)


def test_trials_are_shared_out_and_what_is_left_is_tried_later(tmp_path):
    kernels = len(set(calls_of(module())))
    few = FakeGpu()
    first = tune(tmp_path, few, trials=2 * kernels)

    second = tune(tmp_path, FakeGpu(threads64=1e-3))

    assert first.left == ()
    assert first.trials <= 2 * kernels
    assert max(few.batches) <= 3
    assert second.tuned > 0
    schedules = {GpuRecords(tmp_path, GPU).best(module()[n]).schedule for n in calls_of(module())}
    assert "thread per result, 64" in schedules


def test_no_time_leaves_kernels_without_a_record(tmp_path):
    summary = tune(tmp_path, FakeGpu(), limit_s=0.0)

    assert set(summary.left) == set(calls_of(module()))
    _, left = apply_database(module(), GPU, tmp_path)
    assert set(left) == set(summary.left)
    assert len(untuned_kernels({"two": module()}, GPU, tmp_path)) == len(set(left))


def test_networks_are_compiled_with_the_schedules_of_their_records(tmp_path):
    records = GpuRecords(tmp_path, GPU)
    for kernel in kernels_of(module()).values():
        records.add(kernel.function, "fallback", 1.0, ("fallback",))
    records.add(product(), WIDE, 1e-3, ("fallback", WIDE))

    scheduled, left = apply_database(module(), GPU, tmp_path)
    executable, _ = compile_networks({"two": module()}, GPU, tmp_path)

    assert left == ()
    expected = schedule_as(WIDE, "product", product(), GPU)
    scripts = {scheduled[name].script() for name in calls_of(module())}
    assert expected.script() in scripts
    (host,) = executable.mod.imports
    (device,) = host.imports
    assert "__launch_bounds__(256)" in device.inspect_source()


def test_records_outlive_torn_lines_and_know_their_target(tmp_path):
    records = GpuRecords(tmp_path, GPU)
    records.add(product(), "matmul", 2e-3, ("matmul",))
    with (tmp_path / "gpu_schedules.jsonl").open("ab") as file:
        file.write(b'{"target": "cu')

    found = GpuRecords(tmp_path, GPU)
    found.add(product(), WIDE, 1e-3, ("matmul", WIDE))

    assert GpuRecords(tmp_path, GPU).best(product()).schedule == WIDE
    assert GpuRecords(tmp_path, target_of(CodeTarget(cuda="sm_80"))).best(product()) is None


def test_lines_that_are_no_records_are_left_out(tmp_path, caplog):
    (tmp_path / "gpu_schedules.jsonl").write_bytes(b'{"kernel": 1}\n\xff\xfe\n[]\n')

    assert GpuRecords(tmp_path, GPU).best(product()) is None
    assert caplog.text.count("is no record") == 3


def candidate(factor, wrong=0.0):
    """A function that multiplies, and may add too much."""
    x = tvm.te.placeholder((64,), "float32", "x")
    y = tvm.te.compute((64,), lambda i: x[i] * factor + wrong, "y")
    return tvm.IRModule({"main": tvm.te.create_prim_func([x, y])})


def test_candidates_that_compute_something_else_have_no_time():
    good, off = candidate(2.0), candidate(2.0, wrong=0.1)

    times = measure_on_gpu([good, off, good], PROCESSOR)

    assert times[1] is None
    assert times[0] > 0
    assert times[2] > 0


def test_one_that_does_not_compile_costs_only_itself(monkeypatch):
    build, asked = tvm.tirx.build, []

    def failing(functions, target):
        asked.append(len(functions.functions))
        if "candidate_1" in [name.name_hint for name in functions.functions]:
            raise RuntimeError("nvcc says no")
        return build(functions, target=target)

    monkeypatch.setattr(tvm.tirx, "build", failing)

    times = measure_on_gpu([candidate(2.0)] * 3, PROCESSOR)

    assert asked == [3, 1, 1, 1]
    assert times[1] is None
    assert times[0] > 0
    assert times[2] > 0


def test_names_in_records_keep_their_meaning():
    assert {"matmul", "thread per result", "thread per result, 64", WIDE} <= set(SCHEDULES)
