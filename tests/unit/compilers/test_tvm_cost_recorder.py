import logging

import numpy as np
import pytest

from hwnas.costs import CostTable, Source
from hwnas.errors import MeasurementError
from hwnas.targets import get_target
from hwnas.tvm_worker import tvm_runtime


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as opened:
        yield opened


@pytest.fixture
def machine(tvm, llvm, network, tuned_folder):
    """Tuned module, virtual machine, and a function that runs it."""
    with llvm:
        module = tvm.relax.get_pipeline("hwnas", build=False, database=tuned_folder)(network)
    vm = tvm.relax.VirtualMachine(tvm.compile(module, target=llvm), tvm.cpu())
    x = tvm.runtime.tensor(np.ones((1, 8, 8, 8), np.float32))
    return module, vm, lambda times: [vm["main"](x).numpy() for _ in range(times)]


def test_running_a_model_fills_the_table_that_then_predicts_it(tvm, llvm, table, machine):
    from hwnas.compilers.tvm_annotation import AnnotateCosts, describe_kernels
    from hwnas.compilers.tvm_cost_recorder import CostRecorder

    module, vm, run = machine
    target = get_target("cpu")
    with CostRecorder(table, target, minimum_repeats=10) as recorder:
        recorder.attach(vm, module)
        watched = run(12)
    rows = table.lookup(Source(target.fingerprint, tvm_runtime()), "latency_s")

    kernels = {kernel.key: kernel for kernel in describe_kernels(module).values()}
    assert rows.keys() == kernels.keys()
    assert {row.provenance for row in rows.values()} == {"measured"}
    assert {row.repeats for row in rows.values()} == {11}
    assert all(0.0 < row.low <= row.value <= row.high < 1.0 for row in rows.values())
    assert {kernel.key: kernel for kernel in table.kernels()} == kernels
    predicted = AnnotateCosts(table, target)(module)["main"].attrs
    assert float(predicted["hwnas.latency_s"]) == pytest.approx(
        sum(row.value for row in rows.values())
    )
    np.testing.assert_array_equal(run(1)[0], watched[0])


def test_too_few_repeats_give_no_row(table, machine, caplog):
    from hwnas.compilers.tvm_cost_recorder import CostRecorder

    module, vm, run = machine
    with caplog.at_level(logging.WARNING), CostRecorder(table, get_target("cpu")) as recorder:
        recorder.attach(vm, module)
        run(5)

    assert list(table.rows()) == []
    assert "have fewer than 20 repeats, 0 are not tuned" in caplog.text


def test_untuned_kernels_are_timed_but_get_no_row(tvm, llvm, table, network):
    from hwnas.compilers.tvm_cost_recorder import CostRecorder

    module = tvm.relax.get_pipeline("hwnas", build=False)(network)
    vm = tvm.relax.VirtualMachine(tvm.compile(module, target=llvm), tvm.cpu())
    x = tvm.runtime.tensor(np.ones((1, 8, 8, 8), np.float32))
    with CostRecorder(table, get_target("cpu"), minimum_repeats=2) as recorder:
        recorder.attach(vm, module)
        for _ in range(5):
            vm["main"](x)
        estimates = recorder.estimates()

    assert {estimate.repeats for estimate in estimates.values()} == {4}
    assert list(table.rows()) == []


def test_after_the_block_nothing_is_recorded(table, machine):
    from hwnas.compilers.tvm_cost_recorder import CostRecorder

    module, vm, run = machine
    with CostRecorder(table, get_target("cpu"), minimum_repeats=2) as recorder:
        recorder.attach(vm, module)
        run(4)
    before = recorder.estimates()

    run(4)

    assert recorder.estimates() == before


def test_a_block_that_fails_writes_nothing(table, machine):
    from hwnas.compilers.tvm_cost_recorder import CostRecorder

    module, vm, run = machine

    def fail_after_running():
        with CostRecorder(table, get_target("cpu"), minimum_repeats=2) as recorder:
            recorder.attach(vm, module)
            run(4)
            raise KeyError

    with pytest.raises(KeyError):
        fail_after_running()

    assert list(table.rows()) == []


def test_what_cannot_be_recorded_is_refused(tvm, table, machine):
    from hwnas.compilers.tvm_cost_recorder import CostRecorder

    _, vm, _ = machine
    with pytest.raises(MeasurementError, match="not this machine"):
        CostRecorder(table, get_target("simulated"))
    with pytest.raises(MeasurementError, match="2 or more"):
        CostRecorder(table, get_target("cpu"), minimum_repeats=1)
    with pytest.raises(MeasurementError, match="no kernels"):
        CostRecorder(table, get_target("cpu")).attach(vm, tvm.IRModule({}))
