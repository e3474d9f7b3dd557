"""A small network in TVM, and tuning of it without other processes."""

import importlib
import logging
import sys
import types

import numpy as np
import pytest

from hwnas.tvm_worker import find_tvm


@pytest.fixture(scope="session")
def tvm():
    found = find_tvm()
    if not found.works:
        pytest.skip(f"{found.found}: {found.remedy}")
    module = importlib.import_module("tvm")
    # The intrinsics of all targets take half a minute to import; x86 needs only its own.
    name = "tvm.s_tir.tensor_intrin"
    if name not in sys.modules:
        empty = types.ModuleType(name)
        empty.__path__ = [f"{module.s_tir.__path__[0]}/tensor_intrin"]
        sys.modules[name] = empty
        importlib.import_module(f"{name}.x86")
    return module


@pytest.fixture(scope="session")
def llvm(tvm):
    processor = tvm.target.codegen.llvm_get_system_cpu()
    return tvm.target.Target({"kind": "llvm", "mcpu": processor, "num-cores": 1})


@pytest.fixture(scope="session")
def onnx_network():
    from hwnas.graph import GraphBuilder
    from hwnas.lowering import random_weights, to_onnx

    builder = GraphBuilder("n")
    x = builder.input("x", (1, 8, 8, 8))
    with builder.scope("first"):
        y = builder.relu6(builder.conv(x, 16, 1, name="conv"))
    with builder.scope("second"):
        y = builder.add(x, builder.conv(y, 8, 1, name="conv"))
    builder.output(y, "y")
    graph = builder.build()
    return to_onnx(graph, random_weights(graph, np.random.default_rng(0)))


@pytest.fixture
def network(tvm, onnx_network):
    """High-level Relax; two kernels when fused."""
    from hwnas.tvm_worker.relax_module import import_onnx

    return import_onnx(onnx_network.SerializeToString())


@pytest.fixture(scope="session")
def here(tvm):
    """Keyword arguments of MetaSchedule's tuners that build and run in this process."""
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule as ms

    built = []

    @derived_object
    class Builder(ms.builder.PyBuilder):
        def build(self, build_inputs):
            results = []
            for given in build_inputs:
                built.append(tvm.compile(given.mod, target=given.target))
                results.append(ms.builder.BuilderResult(str(len(built) - 1), None))
            return results

    @derived_object
    class Future(ms.runner.PyRunnerFuture):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def done(self):
            return True

        def result(self):
            return ms.runner.RunnerResult(self.seconds, None)

    @derived_object
    class Runner(ms.runner.PyRunner):
        def run(self, runner_inputs):
            return [Future(self.time(given)) for given in runner_inputs]

        def time(self, given):
            rng = np.random.default_rng(0)
            arrays = [
                tvm.runtime.tensor(rng.standard_normal(list(info.shape)).astype(info.dtype))
                for info in given.args_info
            ]
            code = built[int(given.artifact_path)].mod
            timed = code.time_evaluator("main", tvm.cpu(), number=3, repeat=5)(*arrays)
            return [float(timed.median)]

    # TVM's own callbacks also delete the folder of every built program; there is none here.
    callbacks = [ms.measure_callback.AddToDatabase(), ms.measure_callback.UpdateCostModel()]
    return {"builder": Builder(), "runner": Runner(), "measure_callbacks": callbacks}


@pytest.fixture(autouse=True)
def _fresh_loggers_of_tvm():
    """Tuning stops its logger from propagating; pytest then adds handlers that have no name.

    The next tuning of the same process stumbles over them.
    """
    yield
    logger = logging.getLogger("tvm.s_tir.meta_schedule")
    logger.handlers.clear()
    logger.propagate = True


@pytest.fixture(scope="session")
def tuned_folder(tvm, llvm, onnx_network, here, tmp_path_factory):
    """Folder with tuning records for all kernels of the network."""
    from tvm.s_tir import meta_schedule as ms

    from hwnas.tvm_worker.relax_module import fuse, import_onnx

    folder = tmp_path_factory.mktemp("tuning")
    ms.relax_integration.tune_relax(
        mod=fuse(import_onnx(onnx_network.SerializeToString())),
        params={},
        target=llvm,
        work_dir=str(folder),
        max_trials_global=40,
        max_trials_per_task=4,
        num_trials_per_iter=4,
        cost_model="random",
        strategy="replay-trace",
        seed=0,
        **here,
    )
    return folder
