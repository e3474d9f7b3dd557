"""The TVM process as its parent sees it: crashes, stuck children, wrong versions."""

import os
import signal
import tempfile
import threading
import time
from importlib import metadata

import numpy as np
import pytest

from hwnas.errors import LoweringError, MeasurementError, PluginError
from hwnas.lowering import random_weights, to_onnx
from hwnas.spaces import get_space
from hwnas.tvm_worker import TvmWorker, find_tvm, installation
from hwnas.tvm_worker.messages import (
    Array,
    BuildNetworks,
    BuiltNetworks,
    CodeTarget,
    Lower,
    Lowered,
    Release,
    Results,
    Run,
)

needs_tvm = pytest.mark.skipif(not find_tvm().works, reason=f"TVM: {find_tvm().found}")


@pytest.fixture(scope="module")
def worker():
    with TvmWorker() as found:
        yield found


@pytest.fixture(scope="module")
def model():
    space, rng = get_space("cells-digits"), np.random.default_rng(0)
    graph = space.network(space.architecture(space.sample(1, rng)[0]))
    return to_onnx(graph, random_weights(graph, rng)).SerializeToString()


def stand_in_version(monkeypatch, package, version):
    """What a wrong installation looks like: only the look-up of versions is changed."""
    real = metadata.version

    def found(name):
        if name != package:
            return real(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(installation.metadata, "version", found)


@needs_tvm
def test_a_child_that_crashes_is_an_error_and_the_next_request_works(worker, model):
    _ = worker.greeting
    first = worker._process.pid
    os.kill(first, signal.SIGSTOP)  # it crashes only when it goes on, with the request waiting
    os.kill(first, signal.SIGSEGV)
    later = threading.Timer(0.2, os.kill, (first, signal.SIGCONT))
    later.start()

    with pytest.raises(MeasurementError, match=r"TVM died in Lower .*SIGSEGV"):
        worker.request(Lower({"network": model}), Lowered)

    later.join()
    lowered = worker.request(Lower({"network": model}), Lowered)
    assert lowered.calls["network"]
    assert worker._process.pid != first


@needs_tvm
def test_a_child_that_is_stuck_is_ended(worker, model):
    _ = worker.greeting
    child = worker._process
    os.kill(child.pid, signal.SIGSTOP)

    with pytest.raises(MeasurementError, match="TVM was stuck in Lower and was ended"):
        worker.request(Lower({"network": model}), Lowered, timeout_s=0.2)

    assert child.wait(timeout=30) == -signal.SIGKILL


@needs_tvm
def test_errors_of_the_child_keep_their_class_and_leave_it_running(worker, model):
    _ = worker.greeting
    child = worker._process.pid

    with pytest.raises(LoweringError, match="not an ONNX model"):
        worker.request(Lower({"network": b"nonsense"}), Lowered)
    with pytest.raises(MeasurementError, match="KeyError"):
        worker.request(Run(12345, ()), Results)

    assert worker._process.pid == child


@needs_tvm
def test_a_network_is_run_and_forgotten_by_its_number(worker, model):
    found = worker.request(BuildNetworks({"network": model}, CodeTarget()), BuiltNetworks)
    built = found.networks["network"]
    shape = get_space("cells-digits").network(get_space("cells-digits").smallest()).inputs[0].shape
    x = np.random.default_rng(1).standard_normal(tuple(shape.numpy()), dtype=np.float32)

    (output,) = worker.request(Run(built.handle, (Array.of(x),)), Results).outputs

    assert output.numpy().shape == (1, 10)
    worker.request(Release((built.handle,)), Results)
    with pytest.raises(MeasurementError, match="KeyError"):
        worker.request(Run(built.handle, (Array.of(x),)), Results)


@needs_tvm
def test_an_interrupted_request_does_not_answer_the_next(worker, model):
    def interrupt(_text, _share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.request(Lower({"net": model}), Lowered, progress=interrupt)
    worker.forget(Release((1,)))
    found = worker.request(Release(()), Results)

    assert found == Results(())


@needs_tvm
def test_files_of_a_child_that_is_killed_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with TvmWorker() as worker:
        worker.request(Release(()), Results)
        (folder,) = tmp_path.iterdir()
        (folder / "left.so").touch()
        os.killpg(worker._process.pid, signal.SIGKILL)

    assert list(tmp_path.iterdir()) == []


@needs_tvm
def test_progress_is_passed_on(worker, model):
    said = []

    worker.request(
        Lower({"one": model, "two": model}),
        Lowered,
        progress=lambda text, share: said.append((text, share)),
    )

    assert said == [("lowering one", 0.0), ("lowering two", 0.5)]


@needs_tvm
def test_closing_ends_the_child():
    with TvmWorker() as found:
        _ = found.greeting
        child = found._process

    assert child.poll() is not None
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(child.pid, 0)
        except ProcessLookupError:
            break
    else:
        pytest.fail("the child is still there")


@pytest.mark.parametrize(
    ("package", "version", "says"),
    [
        ("apache-tvm-ffi", "0.1.15.post2", r"crashes.*pip install 'apache-tvm-ffi==0\.1\.14"),
        ("apache-tvm-ffi", "0.1.13", r"crashes or fails.*pip install 'apache-tvm-ffi==0\.1\.14"),
        ("apache-tvm", "0.21.0", r"tvm 0\.21\.0.*hwnas\[tvm\]"),
        ("apache-tvm", None, r"not installed.*hwnas\[tvm\]"),
    ],
)
@needs_tvm
def test_a_wrong_version_is_detected_before_anything_is_started(
    monkeypatch, package, version, says
):
    stand_in_version(monkeypatch, package, version)
    worker = TvmWorker()

    with pytest.raises(PluginError, match=says):
        worker.request(Release(()), Results)

    assert worker._process is None
    assert not find_tvm().works
