"""What a GPU would run, run on the CPU provider; with a GPU, the conformance suite as well."""

import logging
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from hwnas.backends import BlockBackend, ModelBackend, get_backend
from hwnas.backends.cuda import onnxruntime_cuda, provider_options, session_clock
from hwnas.backends.cuda.onnxruntime_cuda import OnnxRuntimeCudaBackend
from hwnas.backends.cuda.provider_options import GpuSessions, engine_folder
from hwnas.backends.cuda.session_clock import SessionClock
from hwnas.backends.cuda.session_executable import ImagePool, SessionExecutable
from hwnas.backends.onnxruntime_sessions import open_session
from hwnas.errors import LoweringError, MeasurementError, TargetError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.spaces import get_space
from hwnas.targets import Settings, get_target
from hwnas.testing.backend_conformance import BackendConformance

CPU = (("CPUExecutionProvider", {}),)
SPACES = ["mbconv-digits", "cells-digits", "fbnet-cifar"]


def target(runtime="onnxruntime", precision="float32", batch=1):
    return get_target("cuda").with_settings(
        Settings(batch=batch, precision=precision, runtime=runtime)
    )


class OnCpu(GpuSessions):
    """The CPU provider in the place of the GPU's, which may refuse to record."""

    place = "cpu"

    def __init__(self, clock=None, records=True):
        self._clock = clock
        self._records = records
        self.asked = []

    def clock(self):
        return self._clock

    def plain(self, _target):
        return CPU

    def chosen(self, _target, *, record, engines=None):
        self.asked.append((record, engines))
        if record and not self._records:
            raise LoweringError("not all of it runs on the GPU")
        return CPU


def cpu_backend(**settings):
    return OnnxRuntimeCudaBackend(OnCpu(**settings))


def network(name, seed=0):
    space = get_space(name)
    graph = space.network(space.architecture(space.sample(1, np.random.default_rng(seed))[0]))
    return space, graph, random_weights(graph, np.random.default_rng(seed))


def small_graph(*, shape=(1, 3, 8, 8), name="small"):
    g = GraphBuilder(name)
    x = g.input("input", shape)
    for prefix in ("a", "b"):
        with g.scope(prefix):
            x = g.relu(g.conv(x, 8, 3, name="conv", bias=True))
    g.output(x, "output")
    return g.build()


def compiled_blocks(backend, on):
    graph = small_graph()
    weights = random_weights(graph, np.random.default_rng(0))
    return backend.compile_blocks(graph, weights, ["a", "b"], on)


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_the_runtime_of_a_target_chooses_the_backend(runtime):
    backend = get_backend(target(runtime))

    assert isinstance(backend, OnnxRuntimeCudaBackend)
    assert isinstance(backend, BlockBackend)
    assert isinstance(backend, ModelBackend)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_network_takes_the_batch_and_the_precision_of_the_target(precision):
    _, graph, weights = network("mbconv-digits")

    executable = cpu_backend().compile(graph, weights, target(precision=precision, batch=4))
    executable.run()

    (image,) = executable._inputs.values()
    (found,) = executable.results().values()
    assert image.shape()[0] == found.shape[0] == 4
    assert image.numpy().dtype == found.dtype == np.dtype(precision)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
def test_every_block_gives_a_batch_of_results(name, runtime):
    space, graph, weights = network(name)
    on = target(runtime, batch=4)
    names = [block.name for block in space.blocks]

    pieces = cpu_backend().compile_blocks(graph, weights, names, on)
    for piece in pieces.values():
        piece.run()

    assert pieces
    for piece in pieces.values():
        assert {value.shape[0] for value in piece.results().values()} == {4}


@pytest.mark.parametrize("name", SPACES)
def test_a_chain_of_blocks_gives_what_the_whole_network_gives(name):
    space, graph, weights = network(name)
    backend, on = cpu_backend(), target(batch=4)
    whole = backend.compile(graph, weights, on)
    pieces = backend.compile_blocks(graph, weights, [b.name for b in space.blocks], on)
    image = np.random.default_rng(5).standard_normal(
        whole._inputs["input"].shape(), dtype=np.float32
    )

    whole._inputs["input"].update_inplace(image)
    whole.run()
    previous = None
    for block in space.blocks:
        if block.name in pieces:
            piece = pieces[block.name]
            piece.follow(previous)
            if "input" in piece._inputs:
                piece._inputs["input"].update_inplace(image)
            piece.run()
            previous = piece

    (wanted,) = whole.results().values()
    (found,) = previous.results().values()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_blocks_in_float16_hand_each_other_float16():
    # Cut as written: the CPU provider's optimiser would put casts around every operator.
    blocks = compiled_blocks(cpu_backend(), target("tensorrt", "float16", 2))

    blocks["b"].follow(blocks["a"])
    for name in "ab":
        blocks[name].run()

    assert sorted(blocks) == ["a", "b"]
    for block in blocks.values():
        assert {value.dtype for value in block.results().values()} == {np.dtype(np.float16)}


def test_what_is_recorded_by_address_gets_a_number_for_each_set_of_addresses():
    backend = cpu_backend()
    one, two = (compiled_blocks(backend, target()) for _ in range(2))
    block = two["b"]

    def number():
        return block._waiting.get_run_config_entry("gpu_graph_id")

    alone = number()
    block.follow(one["a"])
    elsewhere = number()
    block.follow(two["a"])
    third = number()
    block.follow(one["a"])
    again = number()
    block.follow(None)

    assert len({alone, elsewhere, third}) == 3
    assert again == elsewhere
    assert number() == alone


def test_what_is_recorded_once_reads_its_own_buffers_whatever_comes_before():
    blocks = compiled_blocks(cpu_backend(), target("tensorrt", "tf32"))
    read = dict(blocks["b"]._read)

    blocks["b"].follow(blocks["a"])

    assert blocks["b"]._read == read


def test_only_queued_runs_are_not_waited_for():
    block = compiled_blocks(cpu_backend(), target())["a"]
    entry = "disable_synchronize_execution_providers"

    assert block._queueing.get_run_config_entry(entry) == "1"
    with pytest.raises(RuntimeError):
        block._waiting.get_run_config_entry(entry)


def test_a_model_that_cannot_be_recorded_is_timed_as_it_is_with_a_warning(caplog):
    sessions = OnCpu(records=False)
    graph = small_graph()
    weights = random_weights(graph, np.random.default_rng(0))

    with caplog.at_level(logging.WARNING):
        executable = OnnxRuntimeCudaBackend(sessions).compile(graph, weights, target())
    executable.run()

    assert [record for record, _ in sessions.asked] == [True, False]
    assert "without a CUDA graph" in caplog.text
    assert executable._recorded == "never"


def test_images_change_between_passes_and_inputs_from_other_blocks_do_not():
    backend = cpu_backend()
    blocks = compiled_blocks(backend, target(batch=2))
    blocks["b"].follow(blocks["a"])
    before = {name: block._inputs for name, block in blocks.items()}
    image = before["a"]["input"].numpy().copy()
    (border,) = (value.numpy().copy() for value in before["b"].values())

    backend.sample([blocks["a"], blocks["b"]], target(), warmup=1, passes=2)
    blocks["b"].follow(None)
    backend.sample([blocks["b"]], target(), warmup=1, passes=1)

    assert not np.array_equal(blocks["a"]._inputs["input"].numpy(), image)
    (after,) = (value.numpy() for value in blocks["b"]._inputs.values())
    assert np.array_equal(after, border)


def test_noise_comes_again_only_after_all_of_it():
    pool = ImagePool(24, np.float16)

    first, second, third = (pool.take((2, 2)) for _ in range(3))
    fourth = pool.take((2, 2))
    wide = pool.take((4, 4))

    assert len({each.tobytes() for each in (first, second, third)}) == 3
    assert np.array_equal(fourth, first)
    assert wide.shape == (4, 4)
    assert wide.dtype == np.float16


def test_without_a_device_clock_both_times_are_the_walls():
    backend, (_, graph, weights) = cpu_backend(), network("mbconv-digits")
    executable = backend.compile(graph, weights, target(batch=2))

    sample = backend.sample([executable, executable], target(), warmup=0, passes=3)

    assert sample.shape == (2, 2)
    assert (sample > 0).all()
    assert (sample[:, 0] <= sample[:, 1]).all()
    assert backend.sample([], target(), warmup=1, passes=2).shape == (0, 2)
    assert backend.runtime(target()).endswith("CUDA, wall clock")


class FakeCuda:
    """Torch's module `cuda` over a device whose every run takes 2 ms."""

    def __init__(self):
        self.log = []
        stream = SimpleNamespace(cuda_stream=4711, synchronize=lambda: self.log.append("wait"))
        self.Stream = lambda: stream
        self.Event = lambda **_settings: FakeEvent(self)

    def stream(self, _stream):
        return nullcontext()

    def _sleep(self, cycles):
        self.log.append(f"hold {cycles:g}")


class FakeEvent:
    def __init__(self, cuda):
        self._cuda = cuda

    def record(self):
        self._cuda.log.append("mark")
        self._at_ms = 2.0 * self._cuda.log.count("run")

    def elapsed_time(self, end):
        return end._at_ms - self._at_ms


def test_the_device_clock_holds_the_stream_until_all_is_queued():
    cuda = FakeCuda()

    found = SessionClock(cuda).seconds([lambda: cuda.log.append("run")] * 2, 1e-3)

    np.testing.assert_allclose(found, [2e-3, 2e-3])
    assert cuda.log == ["hold 6e+06", "mark", "run", "mark", "run", "mark", "wait"]


def test_with_a_device_clock_latency_is_its_own_and_the_second_column_the_walls(monkeypatch):
    cuda = FakeCuda()
    backend = cpu_backend(clock=SessionClock(cuda))
    blocks = compiled_blocks(backend, target())
    launch = SessionExecutable.launch
    monkeypatch.setattr(
        SessionExecutable, "launch", lambda block: (cuda.log.append("run"), launch(block))
    )

    sample = backend.sample([blocks["a"], blocks["b"]], target(), warmup=0, passes=2)

    np.testing.assert_allclose(sample[:, 0], 2e-3)
    assert (sample[:, 1] > 0).all()
    assert backend.runtime(target()).endswith("CUDA, device clock")


def test_what_the_host_adds_to_a_launch_is_wall_time_beyond_the_devices(monkeypatch):
    cuda = FakeCuda()
    timed, untimed = cpu_backend(clock=SessionClock(cuda)), cpu_backend()
    block = compiled_blocks(timed, target())["a"]
    launch = SessionExecutable.launch
    monkeypatch.setattr(
        SessionExecutable, "launch", lambda block: (cuda.log.append("run"), launch(block))
    )
    monkeypatch.setattr(onnxruntime_cuda, "time_chain", lambda *_, **__: np.array([[3e-3, 5e-3]]))

    np.testing.assert_allclose(timed.launch_s(block, repeats=4), [3e-3] * 4)
    np.testing.assert_array_equal(untimed.launch_s(block, repeats=4), np.zeros(4))


def test_a_session_that_repeats_says_how_often(monkeypatch):
    block = compiled_blocks(cpu_backend(), target())["a"]
    runs = []
    monkeypatch.setattr(SessionExecutable, "run", lambda block: runs.append("run"))
    monkeypatch.setattr(SessionExecutable, "launch", lambda block: runs.append("launch"))

    first = block.repeat()
    del runs[:]
    again = block.repeat()

    assert first == again == len(runs)
    assert runs[-1] == "run"
    assert set(runs[:-1]) <= {"launch"}


def test_what_another_backend_compiled_is_not_timed():
    with pytest.raises(MeasurementError, match="another backend"):
        cpu_backend().launch_s(SimpleNamespace(run=None))
    with pytest.raises(MeasurementError, match="only what its own backend compiled"):
        cpu_backend().sample([SimpleNamespace(run=None)], target(), warmup=0, passes=1)


def test_a_model_file_takes_the_batch_and_keeps_no_engines_without_tensorrt(tmp_path):
    graph, sessions = small_graph(), OnCpu()
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(graph, random_weights(graph, np.random.default_rng(0))), path)

    executable = OnnxRuntimeCudaBackend(sessions).compile_model(
        path, target(precision="float16", batch=3)
    )
    executable.run()

    assert executable.results()["output"].shape == (3, 8, 8, 8)
    assert sessions.asked == [(True, None)]


def test_engines_of_model_files_are_kept_apart_by_content_and_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph, sessions = small_graph(), OnCpu()
    weights = random_weights(graph, np.random.default_rng(0))
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(graph, weights), path)
    backend = OnnxRuntimeCudaBackend(sessions)

    backend.compile(graph, weights, target("tensorrt", "tf32"))
    for batch, precision in ((1, "tf32"), (2, "tf32"), (1, "float16"), (1, "tf32")):
        backend.compile_model(path, target("tensorrt", precision, batch))

    folders = [engines for _, engines in sessions.asked]
    assert folders[0] is None
    assert len(set(folders[1:])) == 3
    assert folders[1] == folders[4]
    assert all(folder.is_dir() for folder in folders[1:])


def write(path, *, outside=False, kind=TensorProto.FLOAT, sides=(1, 4)):
    values = [helper.make_tensor_value_info(n, kind, sides) for n in ("x", "y")]
    weight = helper.make_tensor("w", kind, (1,), [1.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    if outside:
        model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("file", "precision", "message"),
    [
        ({"outside": True}, "float32", "lies outside"),
        ({"sides": (1, "width")}, "float32", "free sizes"),
        ({"sides": (5, 4)}, "float32", "first size must be 1 or free"),
        ({"kind": TensorProto.FLOAT16}, "float32", "only float32 is measured"),
        ({"kind": TensorProto.DOUBLE}, "float16", "only float16 is measured"),
    ],
)
def test_a_model_that_cannot_be_timed_is_refused(file, precision, message, tmp_path):
    path = write(tmp_path / "model.onnx", **file)

    with pytest.raises(LoweringError, match=message):
        cpu_backend().compile_model(path, target(precision=precision, batch=2))


def test_a_model_in_float16_is_timed_as_such(tmp_path):
    path = write(tmp_path / "model.onnx", kind=TensorProto.FLOAT16)

    executable = cpu_backend().compile_model(path, target(precision="float16", batch=2))
    executable.run()

    assert executable.results()["y"].dtype == np.float16


def test_what_is_no_model_is_refused(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")

    for path in (broken, tmp_path / "missing.onnx"):
        with pytest.raises(LoweringError):
            cpu_backend().compile_model(path, target())


def test_a_target_that_is_no_gpu_is_refused():
    graph = small_graph()

    with pytest.raises(TargetError, match="no \\[gpu\\]"):
        cpu_backend().compile(
            graph, random_weights(graph, np.random.default_rng(0)), get_target("cpu")
        )


def test_a_provider_that_the_package_lacks_is_never_replaced_by_the_cpu():
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("onnxruntime is built for CUDA")
    graph = small_graph()
    source = to_onnx(graph, random_weights(graph, np.random.default_rng(0))).SerializeToString()

    with pytest.raises(LoweringError, match="cannot load its CUDA"), pytest.warns(match="CUDA"):
        open_session(source, ort.SessionOptions(), (("CUDAExecutionProvider", {}), *CPU))


@pytest.mark.parametrize(
    ("precision", "tf32"), [("float32", "0"), ("tf32", "1"), ("float16", "0")]
)
def test_the_cuda_provider_is_told_precision_and_whether_to_record(precision, tf32, monkeypatch):
    monkeypatch.setattr(provider_options, "find_session_clock", lambda: None)
    on = target(precision=precision)

    (name, recorded), cpu = GpuSessions().chosen(on, record=True)
    (_, plain), _ = GpuSessions().plain(on)

    assert name == "CUDAExecutionProvider"
    assert cpu == CPU[0]
    assert recorded == plain | {"enable_cuda_graph": "1"}
    assert plain == {
        "device_id": "0",
        "use_tf32": tf32,
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert GpuSessions().chosen(on, record=False)[0] == (name, plain)


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_tensorrt_is_told_precision_caches_and_whether_to_record(precision, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(provider_options, "find_session_clock", lambda: None)
    on = target("tensorrt", precision)

    first, second, third = GpuSessions().chosen(on, record=True, engines=tmp_path)
    without = GpuSessions().chosen(on, record=False)[0][1]

    cache = tmp_path / "hwnas" / "tensorrt" / precision
    assert first == (
        "TensorrtExecutionProvider",
        {
            "device_id": "0",
            "trt_fp16_enable": str(precision == "float16"),
            "trt_cuda_graph_enable": "True",
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(cache / "timings"),
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(tmp_path),
        },
    )
    assert (second, third) == tuple(GpuSessions().plain(on))
    assert "enable_cuda_graph" not in second[1]
    assert without["trt_cuda_graph_enable"] == without["trt_engine_cache_enable"] == "False"
    assert "trt_engine_cache_path" not in without


def test_all_sessions_run_on_the_stream_of_the_device_clock(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(provider_options, "find_session_clock", lambda: SessionClock(FakeCuda()))

    chosen = GpuSessions().chosen(target("tensorrt", "tf32"), record=True)

    assert [options.get("user_compute_stream") for _, options in chosen] == ["4711", "4711", None]


def test_engines_of_another_gpu_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = set()
    for gpu in ("NVIDIA H100", "NVIDIA H200"):
        monkeypatch.setattr(provider_options, "graphics_processor", lambda gpu=gpu: gpu)
        folders.add(engine_folder(b"model", target("tensorrt")))

    assert len(folders) == 2


def available(monkeypatch, on, *, providers=(), error=""):
    monkeypatch.setattr(onnxruntime_cuda, "gpu_here", lambda _target: None)
    monkeypatch.setattr(ort, "get_available_providers", lambda: list(providers))
    monkeypatch.setattr(provider_options, "_load_error", lambda _name: error)
    monkeypatch.setattr(provider_options, "find_session_clock", lambda: None)
    return OnnxRuntimeCudaBackend().is_available(on)


@pytest.mark.parametrize("runtime", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16", "bfloat16"])
def test_without_a_gpu_there_is_a_reason(runtime, precision, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    found = OnnxRuntimeCudaBackend().is_available(target(runtime, precision))

    assert not found.works
    assert found.reason
    assert found.remedy


@pytest.mark.parametrize(
    ("runtime", "name"),
    [("onnxruntime", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")],
)
def test_a_package_for_cpus_is_to_be_replaced(runtime, name, monkeypatch):
    found = available(monkeypatch, target(runtime, "float16"), providers=["CPUExecutionProvider"])

    assert found.reason == f"onnxruntime has no {name}"
    assert found.remedy == "pip uninstall onnxruntime; pip install onnxruntime-gpu"


def test_a_provider_that_does_not_load_is_not_available(monkeypatch):
    on = target("tensorrt", "float16")

    found = available(
        monkeypatch, on, providers=["TensorrtExecutionProvider"], error="no libnvinfer"
    )

    assert (found.works, found.reason) == (False, "no libnvinfer")
    assert "LD_LIBRARY_PATH" in found.remedy


@pytest.mark.parametrize(
    ("runtime", "precision", "override", "reason"),
    [
        ("onnxruntime", "bfloat16", "", "no kernels in bfloat16"),
        ("tensorrt", "bfloat16", "", "no kernels in bfloat16"),
        ("tensorrt", "float32", "", "TensorRT rounds float32 to tf32"),
        ("tensorrt", "tf32", "0", "turns tf32 off"),
        ("onnxruntime", "tf32", "0", "turns tf32 off"),
        ("tensorrt", "float32", "0", ""),
        ("tensorrt", "tf32", "", ""),
        ("tensorrt", "float16", "", ""),
        ("onnxruntime", "float32", "", ""),
        ("onnxruntime", "float16", "0", ""),
    ],
)
def test_a_precision_that_would_be_another_is_not_available(
    runtime, precision, override, reason, monkeypatch
):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", override)
    providers = ["CUDAExecutionProvider", "TensorrtExecutionProvider"]

    found = available(monkeypatch, target(runtime, precision), providers=providers)

    assert found.works == (not reason)
    assert reason in found.reason
    assert found.works or found.remedy


@pytest.mark.filterwarnings("ignore:Duplicate provider")
def test_a_provider_that_is_there_loads():
    provider_options._load_error.cache_clear()

    assert provider_options._load_error("CPUExecutionProvider") == ""


def test_torch_without_cuda_gives_no_clock():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU")
    session_clock.find_session_clock.cache_clear()

    assert session_clock.find_session_clock() is None


class TestOnnxRuntimeCuda(BackendConformance):
    """Measuring tests skip with the reason where there is no GPU."""

    @pytest.fixture(params=["float32", "tf32", "float16"])
    def target(self, request):
        return target(precision=request.param, batch=2)


class TestTensorRt(BackendConformance):
    @pytest.fixture(params=["tf32", "float16"])
    def target(self, request):
        return target("tensorrt", request.param, batch=2)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_gpu_gives_what_the_cpu_gives(precision):
    on = target(precision=precision, batch=2)
    backend = get_backend(on)
    found = backend.is_available(on)
    if not found.works:
        pytest.skip(f"{found.reason}; {found.remedy}")
    _, graph, weights = network("mbconv-digits")
    whole, wanted = backend.compile(graph, weights, on), cpu_backend().compile(graph, weights, on)

    for _ in range(3):  # recorded, then replayed
        for executable in (whole, wanted):
            executable._inputs["input"].update_inplace(wanted._inputs["input"].numpy())
            executable.run()

    (on_gpu,) = whole.results().values()
    (on_cpu,) = wanted.results().values()
    error = 1e-3 if precision == "float32" else 2e-2
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=0, atol=error * np.abs(on_cpu).max())
