"""The backend for boards over loopback: a board of this machine's kind, served by the test."""

import os
import signal
import time

import numpy as np
import onnxruntime as ort
import pytest

from hwnas.backends import KernelBackend, TuningBudget, get_backend, tvm_kernels
from hwnas.backends.tvm_rpc import TvmRpcBackend
from hwnas.errors import MeasurementError, TargetError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.targets import get_target
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.devices.facts import facts_of_this_device
from hwnas.tvm_worker.devices.process import DeviceProcess
from hwnas.tvm_worker.devices.tracker import ask_tracker

if not find_tvm().works:
    pytest.skip(f"{find_tvm().found}: {find_tvm().remedy}", allow_module_level=True)
pytest.importorskip("psutil", reason="psutil is not installed")

DEVICE = """
schema = 1
name = "{key}"
description = "a board of this machine's kind"
backend = "tvm-rpc"

[processor]
architecture = "{architecture}"
cpu = "host"

[remote]
key = "{key}"

[energy]
source = "model"
energy_j_per_mac = 1e-12
energy_j_per_byte = 1e-12
reference = "none, a test"
"""
HERE = ("--host", "127.0.0.1", "--port", "0")
LIMIT_S = 120


@pytest.fixture(scope="module")
def network():
    g = GraphBuilder("net")
    x = g.relu(g.conv(g.input("input", (1, 8, 12, 12)), 16, 1, name="first"))
    g.output(g.conv(x, 8, 1, name="second"), "output")
    graph = g.build()
    return graph, random_weights(graph, np.random.default_rng(0))


@pytest.fixture(scope="module")
def tracker():
    with DeviceProcess("tracker", *HERE) as process:
        yield process.address


@pytest.fixture
def make_target(tmp_path):
    """Reads a device file with a key."""

    def make(key):
        file = tmp_path / f"{key}.toml"
        architecture = facts_of_this_device().machine
        file.write_text(DEVICE.format(key=key, architecture=architecture))
        return get_target(str(file))

    return make


@pytest.fixture
def server(tracker):
    where = ("--tracker-host", tracker.host, "--tracker-port", str(tracker.port))
    with DeviceProcess("server", *HERE, "--key", "test", *where) as process:
        _wait(lambda: ask_tracker(tracker).count("test"))
        yield process


def test_networks_and_kernels_are_tuned_and_timed_on_the_board(
    network, tracker, make_target, server, monkeypatch, tmp_path
):
    monkeypatch.setenv("HWNAS_TRACKER", str(tracker))
    target = make_target("test")
    backend = get_backend(target).with_tuning(tmp_path / "records")
    graph, weights = network
    image = np.random.default_rng(1).standard_normal((1, 8, 12, 12)).astype(np.float32)
    session = ort.InferenceSession(to_onnx(graph, weights).SerializeToString())
    wanted = session.run(None, {"input": image})[0]

    assert isinstance(backend, KernelBackend)
    assert backend.is_available(target).works
    lowered = backend.lower({"net": network}, target)
    report = backend.tune(lowered.kernels, target, TuningBudget(trials=16), seed=0)
    assert report.left == ()
    executable = backend.compile(graph, weights, target)
    sampled = backend.sample([executable] * 2, target, warmup=1, passes=3)
    (found,) = executable.results([image])
    executable.release()
    bench = backend.open_bench(
        {"net": network}, set(lowered.kernels), target, np.random.default_rng(0)
    )
    needy = {"net", *lowered.kernels}
    rounds = list(bench.round(needy, warmup=1, passes=3))
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(MeasurementError, match="'test'"):
        list(bench.round(needy, warmup=1, passes=3))
    bench.close()

    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert sampled.shape == (2, 2)
    assert (sampled > 0).all()
    assert {name for names, _ in rounds for name in names} == needy
    assert all(seconds.shape == (len(names), 2) for names, seconds in rounds)


def test_a_network_that_no_profile_has_seen_is_tuned_when_compiled(
    tracker, make_target, server, monkeypatch, tmp_path
):
    monkeypatch.setenv("HWNAS_TRACKER", str(tracker))
    monkeypatch.setattr(tvm_kernels, "_ON_DEMAND_TRIALS", 2)
    target = make_target("test")
    g = GraphBuilder("unseen")
    g.output(g.conv(g.input("input", (1, 8, 10, 10)), 24, 1, name="only"), "output")
    graph = g.build()
    backend = get_backend(target).with_tuning(tmp_path / "records")

    executable = backend.compile(graph, random_weights(graph, np.random.default_rng(0)), target)
    sampled = backend.sample([executable], target, warmup=0, passes=1)
    executable.release()

    assert (sampled > 0).all()


def test_a_kind_without_a_board_is_not_available(tracker, make_target, monkeypatch):
    monkeypatch.setenv("HWNAS_TRACKER", str(tracker))
    target = make_target("absent")

    found = TvmRpcBackend().is_available(target)

    assert not found.works
    assert "'absent'" in found.reason
    assert "hwnas device serve --key absent" in found.remedy


def test_a_tracker_must_be_named_and_there(network, make_target, monkeypatch, tmp_path):
    target = make_target("test")
    monkeypatch.delenv("HWNAS_TRACKER", raising=False)
    unnamed = TvmRpcBackend().is_available(target)
    with pytest.raises(TargetError, match="HWNAS_TRACKER"):
        TvmRpcBackend(tmp_path).compile(*network, target)

    monkeypatch.setenv("HWNAS_TRACKER", "127.0.0.1:1")
    away = TvmRpcBackend().is_available(target)

    assert not unnamed.works
    assert "--tracker" in unnamed.remedy
    assert not away.works
    assert "127.0.0.1:1" in away.reason


def test_a_device_file_without_a_key_is_told_what_to_add():
    found = TvmRpcBackend().is_available(get_target("cpu"))

    assert not found.works
    assert "[remote]" in found.remedy


def test_executables_of_other_backends_are_refused(make_target):
    class Other:
        def run(self):
            raise AssertionError

    with pytest.raises(MeasurementError, match="another backend"):
        TvmRpcBackend().sample([Other()], make_target("test"), warmup=0, passes=1)


def _wait(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
