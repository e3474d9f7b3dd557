"""Networks that are compiled together, and the times of their kernels."""

import numpy as np
import onnxruntime as ort
import pytest

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights

tvm = pytest.importorskip("tvm", reason="TVM is not installed")

from hwnas.tvm_worker.building import llvm_target  # noqa: E402 (needs TVM)
from hwnas.tvm_worker.messages import CodeTarget  # noqa: E402
from hwnas.tvm_worker.networks import build_networks, untuned_kernels  # noqa: E402
from hwnas.tvm_worker.relax_module import fuse, import_onnx  # noqa: E402
from hwnas.tvm_worker.timing import KernelWatch, empty_calls_s, time_kernels  # noqa: E402

TARGET = llvm_target(CodeTarget())


def model(depth):
    """A stem, so many equal convolutions, and a pooled result."""
    g = GraphBuilder(f"depth{depth}")
    y = g.relu(g.conv(g.input("x", (1, 3, 8, 8)), 8, 3, name="stem/conv"))
    for number in range(depth):
        y = g.relu(g.conv(y, 8, 1, name=f"layer{number}/conv", bias=True))
    g.output(g.global_average_pool(y), "output")
    graph = g.build()
    return model_bytes(graph, random_weights(graph, np.random.default_rng(depth)))


@pytest.fixture(scope="module")
def models():
    return {"one": model(1), "three": model(3)}


@pytest.fixture(scope="module")
def modules(models):
    return {name: fuse(import_onnx(content)) for name, content in models.items()}


@pytest.fixture(scope="module")
def networks(modules):
    return build_networks(modules, TARGET, None)


def test_networks_compiled_together_compute_what_each_computes_alone(models, networks):
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)

    for name, content in models.items():
        (found,) = networks[name].run_on([x])
        session = ort.InferenceSession(content)
        (expected,) = session.run(None, {session.get_inputs()[0].name: x})

        assert expected.std() > 0.01
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_kernels_that_networks_share_are_one(networks):
    one, three = networks["one"].kernels, networks["three"].kernels

    assert set(one) == set(three)
    assert len(three) == len(one) + 2


def test_every_kernel_without_a_record_is_named(modules, networks, tmp_path):
    found = untuned_kernels(modules, TARGET, tmp_path)

    assert set(found) == set(networks["three"].kernels)
    assert all(kernel.key == key for key, kernel in found.items())


def test_each_call_of_a_kernel_has_its_times(networks):
    times = np.array(time_kernels(networks["three"], warmup=1, passes=3))

    assert times.shape == (len(networks["three"].kernels), 2)
    assert (times > 0).all()


def test_what_the_watch_takes_is_known_for_any_number_of_arguments():
    found = empty_calls_s()

    assert set(found) >= set(range(9))
    assert all(0 < cpu < 1e-4 for cpu, _ in found.values())


def test_watches_do_not_see_each_others_machines(networks):
    from tvm import relax

    executable = networks["one"]._executable
    machines = [relax.VirtualMachine(executable, tvm.cpu()) for _ in range(2)]
    first, second = (KernelWatch(machine) for machine in machines)
    x = tvm.runtime.tensor(np.zeros((1, 3, 8, 8), np.float32))

    machines[0]["main_0"](x)
    machines[0]["main_0"](x)
    machines[1]["main_0"](x)

    twice, once = first.take(), second.take()
    assert len(twice) == 2 * len(once) > 0
    assert {call[0] for call in once} == {call[0] for call in twice}
    assert {name for name, *_ in once} >= set(networks["one"].names)
    assert first.take() == second.take() == []
