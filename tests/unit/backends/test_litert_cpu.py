import os
import subprocess
import sys
import time

import numpy as np
import pytest

from hwnas.backends import BlockBackend, get_backend
from hwnas.backends.litert_cpu import LitertCpuBackend
from hwnas.backends.litert_executable import LitertExecutable
from hwnas.errors import LoweringError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights
from hwnas.lowering.tflite_model import to_tflite
from hwnas.spaces import get_space
from hwnas.targets import get_target
from hwnas.testing.space_conformance import fragments_of

TARGET = get_target("litert-cpu")

needs_litert = pytest.mark.skipif(
    not LitertCpuBackend().is_available(TARGET).works,
    reason=LitertCpuBackend().is_available(TARGET).reason,
)


def network(space, seed=0):
    architecture = space.architecture(space.sample(1, np.random.default_rng(seed))[0])
    graph = space.network(architecture)
    return architecture, graph, random_weights(graph, np.random.default_rng(seed))


def pooled_graph():
    """One operator that XNNPACK takes, one that it does not, and two that it takes."""
    g = GraphBuilder("pooled")
    with g.scope("a"):
        x = g.conv(g.input("input", (1, 8, 16, 16)), 8, 3, name="conv", bias=True)
        g.output(g.relu(g.max_pool(x, 3, stride=2)), "output")
    return g.build()


def test_without_the_package_the_target_says_what_to_install():
    code = (
        "import sys\n"
        "from importlib.abc import MetaPathFinder\n"
        "from importlib import metadata\n"
        "class Missing(MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] == 'ai_edge_litert':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from hwnas.backends import get_backend\n"
        "from hwnas.targets import get_target\n"
        "target = get_target('litert-cpu')\n"
        "found = get_backend(target).is_available(target)\n"
        "print(found.works, '|', found.reason, '|', found.remedy)\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    assert said == "False | ai-edge-litert is not installed | pip install 'hwnas[litert]'\n"


@needs_litert
def test_it_measures_blocks_and_names_its_version():
    backend = get_backend(TARGET)
    from importlib.metadata import version

    assert isinstance(backend, BlockBackend)
    assert backend.runtime(TARGET) == f"litert {version('ai-edge-litert')} xnnpack"


@needs_litert
def test_more_threads_than_cores_are_refused_with_what_to_do():
    cores = len(os.sched_getaffinity(0))

    found = get_backend(TARGET).is_available(TARGET.with_threads(cores + 1))

    assert not found.works
    assert found.reason == f"{cores + 1} threads asked for, {cores} cores here"
    assert "at most" in found.remedy


@needs_litert
def test_a_network_is_delegated_to_xnnpack_whole():
    backend = LitertCpuBackend()
    for name in ("mbconv-digits@16", "cells-digits", "ofa-mbv3"):
        _, graph, weights = network(get_space(name))

        assert backend.compile(graph, weights, TARGET).undelegated() == ()


@needs_litert
def test_what_is_not_delegated_is_told():
    graph = pooled_graph()
    weights = random_weights(graph, np.random.default_rng(0))

    executable = LitertCpuBackend().compile(graph, weights, TARGET)

    assert executable.undelegated() == ("PADV2",)


@needs_litert
def test_without_the_delegate_every_operator_is_told():
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from hwnas.backends.litert_executable import undelegated_operators

    graph = pooled_graph()
    content = to_tflite(graph, random_weights(graph, np.random.default_rng(0)))
    plain = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    plain.allocate_tensors()

    assert undelegated_operators(plain) == ("CONV_2D", "PADV2", "MAX_POOL_2D", "RELU")


@needs_litert
def test_xnnpack_is_several_times_as_fast_as_the_reference_kernels():
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    _, graph, weights = network(get_space("mbconv-digits@16"))
    executable = LitertCpuBackend().compile(graph, weights, TARGET)
    reference = Interpreter(
        model_content=executable.model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    reference.allocate_tensors()
    samples = []
    for _ in range(5):
        stamps = [time.thread_time_ns()]
        for run in (executable.run, reference.invoke):
            run()
            stamps.append(time.thread_time_ns())
        samples.append(np.diff(stamps))

    fast, slow = np.median(samples, axis=0)

    assert slow > 3 * fast  # a ratio of two medians of one run; 27 was seen


@needs_litert
def test_the_file_that_runs_is_the_one_that_is_written():
    _, graph, weights = network(get_space("mbconv-digits@16"))

    executable = LitertCpuBackend().compile(graph, weights, TARGET)

    assert executable.model == to_tflite(graph, weights)


@needs_litert
@pytest.mark.parametrize("name", ["mbconv-digits@16", "cells-digits", "cells-digits-free"])
def test_a_chain_of_blocks_gives_what_the_whole_network_gives(name):
    space, backend = get_space(name), LitertCpuBackend()
    for seed in range(2):
        _, graph, weights = network(space, seed)
        whole = backend.compile(graph, weights, TARGET)
        pieces = backend.compile_blocks(graph, weights, [b.name for b in space.blocks], TARGET)
        chain = [pieces[block.name] for block in space.blocks if block.name in pieces]
        shape = whole.input_shapes["input"]
        image = np.random.default_rng(5).standard_normal(shape, dtype=np.float32)
        whole.read({"input": image})
        whole.run()

        previous = None
        for member in chain:
            member.follow(previous)
            if "input" in member.input_shapes:
                member.read({"input": image})
            member.run()
            previous = member

        (wanted,) = whole.results().values()
        (found,) = previous.results().values()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@needs_litert
@pytest.mark.parametrize("name", ["mbconv-digits@16", "cells-digits"])
def test_every_block_that_does_something_is_cut_out(name):
    space = get_space(name)
    architecture, graph, weights = network(space)
    fragments = fragments_of(space, architecture)
    wanted = [b.name for b, f in zip(space.blocks, fragments, strict=True) if not f.is_empty]

    pieces = LitertCpuBackend().compile_blocks(
        graph, weights, [b.name for b in space.blocks], TARGET
    )

    assert list(pieces) == wanted


def two_blocks(shape=(1, 4, 8, 8)):
    g = GraphBuilder("two")
    x = g.input("input", shape)
    for name in ("a", "b"):
        with g.scope(name):
            x = g.relu(g.conv(x, 4, 3, name="conv", bias=True))
    g.output(x, "output")
    graph = g.build()
    weights = random_weights(graph, np.random.default_rng(0))
    return LitertCpuBackend().compile_blocks(graph, weights, ["a", "b"], TARGET)


def result(member):
    member.run()
    (value,) = member.results().values()
    return value


@needs_litert
def test_a_block_alone_reads_its_own_example_until_it_follows_another():
    blocks = two_blocks()
    alone = result(blocks["b"])
    result(blocks["a"])

    blocks["b"].follow(blocks["a"])
    after_a = result(blocks["b"])
    blocks["b"].follow(None)

    assert not np.allclose(after_a, alone)
    assert np.array_equal(result(blocks["b"]), alone)


@needs_litert
def test_a_block_does_not_follow_one_of_another_shape():
    blocks, wide = two_blocks(), two_blocks((1, 4, 16, 16))
    before = result(blocks["b"])
    result(wide["a"])

    blocks["b"].follow(wide["a"])

    assert np.array_equal(result(blocks["b"]), before)


@needs_litert
def test_one_thread_is_clocked_by_its_own_time_and_more_by_the_wall():
    class Asleep:
        def run(self):
            time.sleep(0.02)

    backend = LitertCpuBackend()

    alone = backend.sample([Asleep()], TARGET, warmup=0, passes=1)
    two = backend.sample([Asleep()], TARGET.with_threads(2), warmup=0, passes=1)

    assert alone[0, 0] < 0.5 * alone[0, 1]
    assert two[0, 0] == pytest.approx(two[0, 1], rel=0.5)


@needs_litert
@pytest.mark.parametrize("content", [b"", b"not a model", b"\x1c\x00\x00\x00TFL3" + 64 * b"\0"])
def test_what_the_runtime_refuses_is_a_lowering_error(content):
    with pytest.raises(LoweringError, match="LiteRT refuses the model"):
        LitertCpuBackend().compile_model(content, TARGET)


@needs_litert
def test_nothing_is_written_to_the_terminal():
    code = (
        "import numpy as np\n"
        "from hwnas.backends.litert_cpu import LitertCpuBackend\n"
        "from hwnas.lowering import random_weights\n"
        "from hwnas.spaces import get_space\n"
        "from hwnas.targets import get_target\n"
        "space = get_space('mbconv-digits@16')\n"
        "graph = space.network(space.smallest())\n"
        "weights = random_weights(graph, np.random.default_rng(0))\n"
        "LitertCpuBackend().compile(graph, weights, get_target('litert-cpu')).run()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert (done.stdout, done.stderr) == ("", "")


@needs_litert
def test_an_input_of_unknown_shape_or_another_type_is_refused():
    from ai_edge_litert import schema_py_generated as schema

    graph = pooled_graph()
    content = to_tflite(graph, random_weights(graph, np.random.default_rng(0)))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    tensor.shapeSignature = [1, -1, 16, 8]
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")

    with pytest.raises(LoweringError, match=r"\(1, -1, 16, 8\): only float32 of a fixed shape"):
        LitertExecutable(bytes(builder.Output()), threads=1)
