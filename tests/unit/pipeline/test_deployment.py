"""What exported code is generated for."""

import pytest

from hwnas.costs import CostTable
from hwnas.errors import TargetError
from hwnas.pipeline.deployment import deployment_for
from hwnas.targets import Settings, get_target
from hwnas.tvm_worker.messages import CodeTarget


def test_a_gpu_gets_code_of_its_own_in_the_runs_batch_and_precision():
    run_target = get_target("nvidia_a100").with_settings(
        Settings(batch=8, precision="float32", runtime="tvm")
    )

    found = deployment_for(None, run_target, None)

    assert found.code == CodeTarget(cuda="sm_80")
    assert found.batch == 8
    assert found.costs_by_tvm
    assert found.target.name == "nvidia_a100"
    assert found.target.fingerprint == run_target.fingerprint


@pytest.mark.parametrize("runtime", ["torch", "tvm", "tvm-tuned"])
def test_tuned_code_for_a_gpu_takes_the_records_beside_the_table(tmp_path, runtime):
    run_target = get_target("nvidia_a100").with_settings(
        Settings(runtime=runtime, precision="float16")
    )

    with CostTable(tmp_path / "costs.sqlite") as table:
        found = deployment_for(None, run_target, table)
        folder = table.tuning_folder(run_target.fingerprint)

    assert found.costs_by_tvm == (runtime != "torch")
    assert found.tuning == (folder if runtime == "tvm-tuned" else None)


def test_another_gpu_than_the_runs_is_named():
    found = deployment_for("nvidia_h200", get_target("cpu"), None)

    assert found.code == CodeTarget(cuda="sm_90", precision="float16")
    assert not found.costs_by_tvm


def test_a_precision_without_code_is_refused():
    tf32 = get_target("nvidia_h200").with_settings(Settings(precision="tf32"))

    with pytest.raises(TargetError, match="no code for tf32"):
        deployment_for(None, tf32, None)


def test_a_format_without_code_for_gpus_is_for_this_machine_unless_one_is_named():
    gpu = get_target("nvidia_h200")

    assert deployment_for(None, gpu, None, for_gpus=False).target.name == "tvm-cpu"
    with pytest.raises(TargetError, match="no code can be generated"):
        deployment_for("nvidia_h200", gpu, None, for_gpus=False)
