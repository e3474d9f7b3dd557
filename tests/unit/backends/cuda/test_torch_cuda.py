import numpy as np
import onnx
import pytest
import torch

from hwnas.backends import BlockBackend, get_backend
from hwnas.backends.backend import ModelBackend
from hwnas.backends.chaining import Written
from hwnas.backends.cuda import availability
from hwnas.backends.cuda.torch_cuda import TorchCudaBackend
from hwnas.backends.cuda.torch_programs import ProgramCache
from hwnas.errors import LoweringError, MeasurementError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.torch_module import TorchModule
from hwnas.nvidia import search_gpu
from hwnas.spaces import get_space
from hwnas.targets import Settings, get_target
from hwnas.testing.backend_conformance import BackendConformance
from hwnas.testing.fake_nvml import FakeNvml

SPACES = ("mbconv-digits", "nasbench201", "unet@64")


def network(name, seed=0):
    space, rng = get_space(name), np.random.default_rng(seed)
    graph = space.network(space.architecture(space.sample(1, rng)[0]))
    return graph, random_weights(graph, rng)


def images(graph, batch, seed=1):
    shape = tuple(graph.inputs[0].shape)
    return np.random.default_rng(seed).standard_normal((batch, *shape[1:]), dtype=np.float32)


def expected(graph, weights, x):
    with torch.no_grad():
        return TorchModule(graph, weights).eval()(torch.from_numpy(x)).numpy()


def run_chain(blocks, order, graph, x):
    """The result of a network's blocks, each of which reads what those before it write."""
    written = [[Written(None, graph.inputs[0].name, tuple(x.shape), x)]]
    for block in (blocks[name] for name in order if name in blocks):
        results = block.execute(block.fitting(written))
        written.insert(0, block.written(results))
    (last,) = results.values()
    return last


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("space", SPACES)
def test_a_network_of_compiled_blocks_computes_what_the_network_does(backend, gpu, space, batch):
    graph, weights = network(space)
    x = images(graph, batch)

    (found,) = backend.compile(graph, weights, gpu(batch=batch)).results(x)

    np.testing.assert_allclose(found, expected(graph, weights, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_stays_near(backend, gpu, precision):
    graph, weights = network("mbconv-digits")
    x = images(graph, 2)
    wanted = expected(graph, weights, x)

    (found,) = backend.compile(graph, weights, gpu(batch=2, precision=precision)).results(x)

    assert found.dtype == np.float32
    assert 0.0 < np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_equal_blocks_are_compiled_once(clock, gpu):
    made = []
    backend = TorchCudaBackend(clock, ProgramCache(lambda traced: made.append(0) or traced))
    graph, weights = network("nasbench201")

    backend.compile(graph, weights, gpu())
    first = len(made)
    backend.compile(*network("nasbench201", seed=0), gpu())

    assert 0 < first < len({node.name.split("/")[0] for node in graph.nodes})
    assert len(made) == first


def test_another_batch_or_precision_is_another_program(clock, gpu):
    made = []
    backend = TorchCudaBackend(clock, ProgramCache(lambda traced: made.append(0) or traced))
    graph, weights = network("mbconv-digits")

    counts = []
    for target in (gpu(), gpu(batch=2), gpu(precision="bfloat16")):
        backend.compile(graph, weights, target)
        counts.append(len(made))

    assert counts[0] < counts[1] < counts[2]


def test_torchs_own_compiler_gives_the_same(clock, gpu):
    backend = TorchCudaBackend(clock)
    g = GraphBuilder("small")
    with g.scope("block"):
        x = g.input("input", (1, 4, 8, 8))
        y = g.relu6(g.conv(x, 8, 3, name="conv", bias=True))
    g.output(y, "output")
    graph = g.build()
    weights = random_weights(graph, np.random.default_rng(0))
    x = images(graph, 2)

    (found,) = backend.compile(graph, weights, gpu(batch=2)).results(x)

    np.testing.assert_allclose(found, expected(graph, weights, x), rtol=1e-4, atol=1e-5)


def test_blocks_are_timed_in_a_chain(backend, clock, gpu):
    graph, weights = network("mbconv-digits")
    names = {node.name.split("/")[0] for node in graph.nodes}
    blocks = backend.compile_blocks(graph, weights, names, gpu(batch=2))
    chain = [blocks[name] for name in dict.fromkeys(n.name.split("/")[0] for n in graph.nodes)]
    previous = None
    for member in chain:
        member.follow(previous)
        previous = member

    seconds = backend.sample(chain, gpu(batch=2), warmup=1, passes=3)

    assert set(blocks) == names
    assert seconds.shape == (len(chain), 2)
    assert (seconds > 0.0).all()
    assert (seconds[:, 0] == seconds[:, 1]).all()
    assert clock.recorded == 1


def test_a_block_reads_what_the_block_before_it_writes(backend, clock, gpu):
    graph, weights = network("mbconv-digits")
    x = images(graph, 1)
    order = list(dict.fromkeys(node.name.split("/")[0] for node in graph.nodes))
    blocks = backend.compile_blocks(graph, weights, order, gpu())

    last = run_chain(blocks, order, graph, torch.from_numpy(x))
    np.testing.assert_allclose(last.numpy(), expected(graph, weights, x), rtol=1e-4, atol=1e-4)


def test_in_a_network_with_branches_earlier_results_count_too(backend, gpu):
    graph, weights = network("nasbench201")
    order = list(dict.fromkeys(node.name.split("/")[0] for node in graph.nodes))
    blocks = backend.compile_blocks(graph, weights, order, gpu())
    x = torch.from_numpy(images(graph, 1))

    last = run_chain(blocks, order, graph, x)
    wanted = expected(graph, weights, x.numpy())
    np.testing.assert_allclose(last.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_a_block_that_follows_nothing_reads_example_inputs(backend, gpu):
    graph, weights = network("mbconv-digits")
    (block,) = backend.compile_blocks(graph, weights, {"stem"}, gpu()).values()
    block.follow(block)
    block.follow(None)

    assert backend.sample([block], gpu(), warmup=0, passes=1)[0, 0] > 0.0


def test_a_network_alone_is_recorded_once(backend, clock, gpu):
    executable = backend.compile(*network("mbconv-digits"), gpu())

    for _ in range(3):
        backend.sample([executable], gpu(), warmup=1, passes=2)

    assert clock.recorded == 1


def test_inputs_change_from_run_to_run(backend, gpu):
    executable = backend.compile(*network("mbconv-digits"), gpu())

    one, other = (next(iter(executable.execute().values())) for _ in range(2))

    assert not torch.equal(one, other)


def test_runs_are_counted_when_they_repeat(backend, gpu):
    executable = backend.compile(*network("mbconv-digits"), gpu())

    assert executable.repeat() >= 1
    assert executable.run() is None


def test_a_launch_is_measured_apart(backend, gpu):
    executable = backend.compile(*network("mbconv-digits"), gpu())

    assert backend.launch_s(executable, repeats=5).shape == (5,)


def test_onnx_files_are_compiled_too(backend, gpu, tmp_path):
    graph, weights = network("mbconv-digits")
    path = tmp_path / "model.onnx"
    onnx.save(to_onnx(graph, weights), path)
    x = images(graph, 2)

    (found,) = backend.compile_model(path, gpu(batch=2)).results(x)

    np.testing.assert_allclose(found, expected(graph, weights, x), rtol=1e-4, atol=1e-4)


def test_a_file_that_is_no_model_is_refused(backend, gpu, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x00\x01")

    with pytest.raises(LoweringError, match="no ONNX model"):
        backend.compile_model(path, gpu())


def test_an_input_without_a_batch_axis_is_refused_in_batches(backend, gpu):
    g = GraphBuilder("flat")
    g.output(g.relu(g.input("input", (7,))), "output")

    with pytest.raises(LoweringError, match="its first axis is no batch "):
        backend.compile(g.build(), {}, gpu(batch=2))


def test_inputs_of_another_shape_are_refused(backend, gpu):
    executable = backend.compile(*network("mbconv-digits"), gpu(batch=2))

    with pytest.raises(LoweringError, match="inputs are"):
        executable.results(np.zeros((1, 1, 8, 8), np.float32))


def test_executables_of_another_backend_are_refused(backend, gpu):
    class Other:
        def run(self):
            pass

    with pytest.raises(MeasurementError, match="another backend"):
        backend.sample([Other()], gpu(), warmup=0, passes=1)
    with pytest.raises(MeasurementError, match="another backend"):
        backend.launch_s(Other())


def test_the_target_finds_it():
    backend = get_backend(get_target("nvidia_h200"))

    assert isinstance(backend, TorchCudaBackend)
    assert isinstance(backend, BlockBackend)
    assert isinstance(backend, ModelBackend)


@pytest.mark.parametrize(
    ("nvml", "reason", "remedy"),
    [
        (FakeNvml(driver=False), "no NVIDIA driver answers", "a machine with a GPU"),
        (FakeNvml("NVIDIA A10"), "the GPU here is NVIDIA A10, not NVIDIA H200", "target cuda"),
        (FakeNvml(), "sees no GPU", "built for CUDA"),
    ],
)
def test_why_a_gpu_cannot_be_used_is_said(monkeypatch, gpu, nvml, reason, remedy):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(availability, "search_gpu", lambda: search_gpu(nvml))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    found = TorchCudaBackend().is_available(gpu())

    assert not found.works
    assert reason in found.reason
    assert remedy in found.remedy


def test_a_block_whose_operators_do_not_follow_each_other_runs_in_order(backend, gpu):
    g = GraphBuilder("woven")
    x = g.input("input", (1, 4, 8, 8))
    with g.scope("one"):
        y = g.conv(x, 4, 3, name="first", bias=True)
    with g.scope("two"):
        y = g.relu(y)
    with g.scope("one"):
        y = g.conv(y, 4, 3, name="second", bias=True)
    g.output(y, "output")
    graph = g.build()
    weights = random_weights(graph, np.random.default_rng(0))
    x = images(graph, 1)

    (found,) = backend.compile(graph, weights, gpu()).results(x)
    blocks = backend.compile_blocks(graph, weights, {"one", "two"}, gpu())

    np.testing.assert_allclose(found, expected(graph, weights, x), rtol=1e-4, atol=1e-5)
    assert set(blocks) == {"two"}


class TestPretendedGpu(BackendConformance):
    @pytest.fixture(params=[1, 4])
    def target(self, request, pretend_gpu):
        pretend_gpu()
        settings = Settings(batch=request.param, precision="float32")
        return get_target("nvidia_h200").with_settings(settings)
