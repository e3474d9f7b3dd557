"""TVM on this machine: refusals, tuning on demand, results, and times of kernels in networks."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from hwnas.backends import KernelBackend, get_backend
from hwnas.backends import tvm_kernels as tvm_kernels
from hwnas.backends.tvm_cpu import TvmCpuBackend
from hwnas.errors import LoweringError, MeasurementError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.targets import get_target
from hwnas.tvm_worker import Installation, find_tvm

TARGET = get_target("tvm-cpu")
needs_tvm = pytest.mark.skipif(not find_tvm().works, reason=find_tvm().found)


def small_graph(width=16):
    g = GraphBuilder("small")
    x = g.input("x", (1, 8, 6, 6))
    with g.scope("body"):
        y = g.relu(g.batch_norm(g.conv(x, width, 1, name="conv"), name="norm"))
    g.output(g.global_average_pool(y), "output")
    return g.build()


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


@pytest.fixture
def backend(records, monkeypatch):
    monkeypatch.setattr(tvm_kernels, "_ON_DEMAND_TRIALS", 4)
    return TvmCpuBackend(records)


def test_the_target_finds_a_backend_that_makes_kernels():
    assert isinstance(get_backend(TARGET), KernelBackend)


def test_more_threads_than_the_schedules_know_are_refused(monkeypatch):
    monkeypatch.setattr(tvm_kernels, "find_tvm", lambda: Installation(True, "tvm"))

    found = get_backend(TARGET).is_available(TARGET.with_threads(2))

    assert not found.works
    assert "scheduled for one" in found.reason
    assert "one thread" in found.remedy


def test_a_tvm_that_does_not_work_is_told_with_its_remedy(monkeypatch):
    broken = Installation(False, "tvm-ffi 0.1.15, which crashes", "pip install another")
    monkeypatch.setattr(tvm_kernels, "find_tvm", lambda: broken)

    found = get_backend(TARGET).is_available(TARGET)

    assert (found.works, found.reason, found.remedy) == (False, broken.found, broken.remedy)


@needs_tvm
def test_nothing_is_timed_without_a_place_for_tuning_records():
    graph = small_graph()

    with pytest.raises(MeasurementError, match="no folder for the records"):
        get_backend(TARGET).compile(graph, random_weights(graph, np.random.default_rng(0)), TARGET)


@needs_tvm
def test_kernels_that_no_profile_has_seen_are_tuned_and_give_the_right_results(backend, records):
    graph = small_graph()
    weights = random_weights(graph, np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((1, 8, 6, 6), dtype=np.float32)

    executable = backend.compile(graph, weights, TARGET)

    (found,) = executable.results([x])
    session = ort.InferenceSession(to_onnx(graph, weights).SerializeToString())
    (expected,) = session.run(None, {"x": x})
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert expected.std() > 0.01
    assert any(records.iterdir())


@needs_tvm
def test_a_model_file_is_measured_from_the_same_records(backend, tmp_path):
    graph = small_graph()
    path = tmp_path / "model.onnx"
    model = to_onnx(graph, random_weights(graph, np.random.default_rng(2)))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    texts = []

    executable = backend.compile_model(path, TARGET, progress=lambda text, _: texts.append(text))
    sample = backend.sample([executable], TARGET, warmup=1, passes=2)

    assert (sample > 0).all()
    assert not any(text.startswith("kernel_") for text in texts)
    executable.release()
    with pytest.raises(MeasurementError):
        executable.run()


@needs_tvm
def test_kernels_of_a_bench_are_those_of_its_networks(backend):
    rng = np.random.default_rng(0)
    models = {}
    for width in (16, 24):
        graph = small_graph(width)
        models[str(width)] = graph, random_weights(graph, rng)
    lowered = backend.lower(models, TARGET)

    bench = backend.open_bench(models, lowered.kernels, TARGET, rng)
    seen = {"16": 0, "24": 0} | dict.fromkeys(lowered.kernels, 0)
    for _ in range(12):
        for names, seconds in bench.round(set(seen), warmup=1, passes=1):
            assert seconds.shape == (len(names), 2)
            for name in names:
                seen[name] += 1
    bench.close()

    assert all(count > 0 for count in seen.values())


@needs_tvm
def test_an_operator_that_tvm_does_not_import_is_named(backend, tmp_path):
    node = onnx.helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4, name="memory")
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node],
        "recurrent",
        [value("x", 1, (3, 1, 2)), value("w", 1, (1, 16, 2)), value("r", 1, (1, 16, 4))],
        [value("y", 1, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])

    with pytest.raises(LoweringError, match=r"LSTM.*target cpu"):
        backend.compile_model(model, TARGET)


def test_what_is_no_model_and_a_free_size_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xff" * 100)
    graph = small_graph()
    model = to_onnx(graph, random_weights(graph, np.random.default_rng(0)))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"

    with pytest.raises(LoweringError, match="is no ONNX model"):
        tvm_kernels.file_bytes(path)
    with pytest.raises(LoweringError, match="fix every size"):
        tvm_kernels.file_bytes(model)
