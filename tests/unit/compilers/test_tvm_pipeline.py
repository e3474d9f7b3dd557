import numpy as np
import onnxruntime as ort
import pytest

from hwnas.errors import PluginError, TableError, TargetError


def run(tvm, executable, x):
    machine = tvm.relax.VirtualMachine(executable, tvm.cpu())
    return machine["main"](tvm.runtime.tensor(x)).numpy()


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((1, 8, 8, 8), dtype=np.float32)


def test_pipeline_by_its_name_compiles_to_the_right_results(tvm, llvm, network, onnx_network, x):
    executable = tvm.compile(network, target=llvm, relax_pipeline="hwnas")

    session = ort.InferenceSession(onnx_network.SerializeToString())
    wanted = session.run(None, {"x": x})[0]
    assert wanted.std() > 0.1
    np.testing.assert_allclose(run(tvm, executable, x), wanted, rtol=0, atol=1e-4)


def test_database_schedules_functions_and_keeps_their_keys(
    tvm, llvm, network, onnx_network, tuned_folder, x
):
    from hwnas.compilers.tvm_annotation import KERNEL, describe_kernels, untuned_functions

    naive = tvm.relax.get_pipeline("hwnas", build=False)(network)
    with llvm:
        tuned = tvm.relax.get_pipeline("hwnas", build=False, database=tuned_folder)(network)

    assert set(untuned_functions(naive)) == set(describe_kernels(naive))
    assert untuned_functions(tuned) == ()
    assert describe_kernels(tuned) == describe_kernels(naive)
    assert KERNEL in dict(tuned[next(iter(describe_kernels(tuned)))].attrs)
    executable = tvm.compile(tuned, target=llvm)
    session = ort.InferenceSession(onnx_network.SerializeToString())
    wanted = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(run(tvm, executable, x), wanted, rtol=0, atol=1e-4)


def test_database_without_target_names_the_remedy(tvm, network, tuned_folder):
    with pytest.raises(Exception, match="with target"):
        tvm.relax.get_pipeline("hwnas", database=tuned_folder)(network)


def test_what_does_not_exist_is_named(tvm, tmp_path):
    pipeline = tvm.relax.get_pipeline

    with pytest.raises(TableError, match="tuning records"):
        pipeline("hwnas", database=tmp_path)
    with pytest.raises(TableError, match="no cost table"):
        pipeline("hwnas", table=tmp_path / "none.sqlite")
    with pytest.raises(TargetError, match="nowhere"):
        pipeline("hwnas", target="nowhere")


def test_unsound_versions_are_refused(tvm, monkeypatch):
    from hwnas.compilers import tvm_pipeline
    from hwnas.tvm_worker import Installation

    wrong = Installation(False, "tvm 0.27.0 with tvm-ffi 0.1.15", "pip install the other")
    monkeypatch.setattr(tvm_pipeline, "find_tvm", lambda: wrong)

    with pytest.raises(PluginError, match=r"tvm-ffi 0\.1\.15.*pip install"):
        tvm_pipeline.hwnas_pipeline()
