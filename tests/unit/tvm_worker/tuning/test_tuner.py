"""Tuning: within its budget, once for each kernel, and never at the cost of the result."""

from collections.abc import Iterator

import numpy as np
import onnxruntime
import pytest

from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.tvm_worker import find_tvm

if not find_tvm().works:
    pytest.skip(f"TVM: {find_tvm().found}", allow_module_level=True)

import tvm
from tvm import relax

from hwnas.tvm_worker.building import compile_module, llvm_target
from hwnas.tvm_worker.kernels import calls_of
from hwnas.tvm_worker.messages import CodeTarget
from hwnas.tvm_worker.relax_module import fuse, import_onnx
from hwnas.tvm_worker.tuning.runner import LocalRunner
from hwnas.tvm_worker.tuning.schedules import new_schedule
from hwnas.tvm_worker.tuning.tuner import apply_database, tune

TARGET = llvm_target(CodeTarget())
TOLERANCE = 1e-4


def network(channels=8):
    """A stem, an inverted residual block with attention over channels, and a classifier."""
    b = GraphBuilder("tiny")
    x = b.input("x", (1, 3, 12, 12))
    y = b.relu6(b.conv(x, channels, 3, name="stem", stride=2, bias=True))
    z = b.relu6(b.conv(y, 2 * channels, 1, name="expand", bias=True))
    z = b.hard_swish(b.conv(z, 2 * channels, 3, name="dw", group=2 * channels, bias=True))
    gate = b.conv(b.global_average_pool(z), 2 * channels, 1, name="gate", bias=True)
    z = b.mul(z, b.hard_sigmoid(gate))
    y = b.add(b.conv(z, channels, 1, name="project", bias=True), y)
    b.output(b.gemm(b.flatten(b.global_average_pool(y)), 10, name="fc"), "y")
    graph = b.build()
    weights = random_weights(graph, np.random.default_rng(0))
    return to_onnx(graph, weights).SerializeToString()


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def module(model):
    return fuse(import_onnx(model))


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    made = LocalRunner()
    yield made
    made.close()


class CountingRunner:
    """Times with another runner, or fails, and keeps count."""

    def __init__(self, runner=None, dies_after=None):
        self._runner = runner
        self._dies_after = dies_after
        self.batches = 0

    def measure(self, candidates, target):
        if self.batches == self._dies_after:
            raise KeyboardInterrupt
        self.batches += 1
        if self._runner is None:
            return [None] * len(candidates)
        return self._runner.measure(candidates, target)

    def close(self):
        raise AssertionError("whoever gave the runner closes it")


def tune_it(module, folder, runner, *, limit_s=None, trials=None, seed=0, told=None):
    return tune(
        module,
        TARGET,
        folder,
        limit_s=limit_s,
        trials=trials,
        seed=seed,
        on_progress=lambda text, share: told.append((text, share)) if told is not None else None,
        runner=runner,
    )


@pytest.fixture(scope="module")
def tuned(module, runner, tmp_path_factory):
    """A folder of records for all kernels, what tuning said, and its summary."""
    folder, told = tmp_path_factory.mktemp("tuning"), []
    names = set(calls_of(module))
    summary = tune_it(module, folder, runner, trials=4 * len(names), told=told)
    return folder, told, summary


def test_every_kernel_is_tuned_within_the_trials(module, tuned):
    _, told, summary = tuned

    assert summary.left == ()
    assert summary.tuned == len(set(calls_of(module)))
    assert 0 < summary.trials <= 4 * summary.tuned
    assert summary.seconds > 0
    assert {text for text, _ in told} == set(calls_of(module))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_tuned_network_agrees_with_onnx_runtime(model, module, tuned):
    x = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    before = module.script()

    scheduled, left = apply_database(module, TARGET, tuned[0])

    assert left == ()
    vm = relax.VirtualMachine(compile_module(scheduled, TARGET), tvm.cpu())
    found = vm["main"](tvm.runtime.tensor(x)).numpy()
    assert expected.std() > 0.1
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()
    assert module.script() == before
    names = dict.fromkeys(calls_of(module))
    assert sum(scheduled[name].script() != module[name].script() for name in names) >= 5


def test_tuned_kernels_are_not_tuned_again(module, tuned):
    idle = CountingRunner()

    summary = tune_it(module, tuned[0], idle)

    assert idle.batches == 0
    assert (summary.tuned, summary.trials, summary.left) == (0, 0, ())
    assert summary.reused == len(set(calls_of(module)))


def test_another_network_is_told_what_it_lacks(tuned):
    other = fuse(import_onnx(network(channels=16)))

    _, left = apply_database(other, TARGET, tuned[0])

    assert left
    assert set(left) <= set(calls_of(other))


def test_records_of_another_target_are_not_used(module, tuned):
    other = llvm_target(CodeTarget(cpu="cortex-a76", triple="aarch64-linux-gnu", cores=4))

    _, left = apply_database(module, other, tuned[0])

    assert set(left) == set(calls_of(module))


def test_a_torn_last_line_is_dropped(module, tuned, tmp_path):
    for file in tuned[0].iterdir():
        content = file.read_bytes()
        (tmp_path / file.name).write_bytes(content + content[: len(content) // 50] + b"[3, ")

    _, left = apply_database(module, TARGET, tmp_path)

    assert left == ()


def test_interrupted_tuning_keeps_its_records_and_goes_on(module, runner, tmp_path):
    kernels = len(set(calls_of(module)))
    with pytest.raises(KeyboardInterrupt):
        tune_it(module, tmp_path, CountingRunner(runner, dies_after=3))
    _, left = apply_database(module, TARGET, tmp_path)
    assert len(left) == kernels - 3

    summary = tune_it(module, tmp_path, runner, trials=2 * kernels)

    assert summary.reused == 0
    assert len(summary.left) < kernels - 3


def test_no_time_leaves_all_kernels_and_names_them(module, tmp_path):
    idle = CountingRunner()

    summary = tune_it(module, tmp_path, idle, limit_s=0.0)

    assert idle.batches == 0
    assert set(summary.left) == set(calls_of(module))


def test_kernels_whose_candidates_all_fail_are_left(module, tmp_path):
    summary = tune_it(module, tmp_path, CountingRunner(), trials=40)

    assert set(summary.left) == set(calls_of(module))
    assert summary.trials == 40
    assert set(apply_database(module, TARGET, tmp_path)[1]) == set(calls_of(module))


def test_a_candidate_that_ends_the_process_costs_only_itself(module, runner):
    name = calls_of(module)[0]
    good = new_schedule(module[name]).mod
    crashing = tvm.IRModule({"main": _aborting(module[name])})

    first, second, third = runner.measure([good, crashing, good], TARGET)

    assert first is not None
    assert second is None
    assert third is not None


def test_a_candidate_that_hangs_is_given_up(module):
    short = LocalRunner(limit_s=0.0)
    try:
        assert short.measure([new_schedule(module[calls_of(module)[0]]).mod], TARGET) == [None]
    finally:
        short.close()


def _aborting(function):
    """A function of the same parameters that ends its process."""
    aborts = tvm.tirx.Evaluate(tvm.tirx.call_extern("int32", "abort"))
    return tvm.tirx.PrimFunc(function.params, aborts).with_attr("global_symbol", "main")
