"""Every benchmark runs with `--quick --json` and prints the results that it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.fpga.simulator import simulator_kinds

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROMISED = {
    "costing": {"architectures_per_s", "architectures_per_s_ofa", "relative_error"},
    "dataflow": {"evaluations_per_s", "resnet18_us"},
    "dataflow_truth": {
        "median_error_accesses",
        "median_error_energy",
        *(
            f"{name}_cycles_{dataflow}"
            for name in ("spearman", "median_error", "p90_error")
            for dataflow in ("dla", "shi", "rs")
        ),
    },
    "encoding": {
        "nb201_onehot_per_s",
        "nb201_path_per_s",
        "nb201_wl3_per_s",
        "darts_path_per_s",
        "darts_wl3_per_s",
        "slots_per_s",
        "canonical_key_150_nodes_us",
        *(
            f"{name}_over_networkx"
            for name in (
                "nb201_onehot",
                "nb201_path",
                "nb201_wl3",
                "darts_path",
                "darts_wl3",
                "canonical_key",
            )
        ),
    },
    "import_time": {"import_s", "help_s"},
    "gpu_truth": set(),  # gives results where there is a GPU alone
    "latency_truth": {"within_10pct_digits", "within_5pct_digits", "kendall_tau_digits"},
    "lowering": {"agreement_share", "worst_relative_difference"},
    "nasaic": {
        "specs_met_share",
        "specs_met_share_phys45",
        "specs_broken_network_first",
        "accuracy_loss_points",
        "toy_optimum_share",
        "episodes_500_s",
    },
    "nsga2": {"generations_per_s"},
    "profiling": {"profile_s", "median_relative_iqr"},
    "quickstart": {
        "total_s",
        "test_accuracy",
        "latency_fraction_of_largest",
        "predicted_over_measured",
    },
    "strategies": {"budget_kept_share", "error_single_path_50", "error_proxyless_50"},
    "systolic_rtl": {"cycles_exact_share", "outputs_exact_share", "scalesim_exact_share"},
    "supernet_ranking": {"noise_ceiling_tau", "tau_sandwich", "tau_parameter_count"},
    "training_step": {
        "single_path_step_ratio",
        "sandwich_step_ratio",
        "superkernel_step_ratio",
        "proxyless_two_path_memory_ratio",
    },
    "tvm_rpc": {"rpc_over_local", "upload_and_load_ms_per_kernel"},
    "tvm_tuned": {"mbconv_over_ort", "network_over_ort"},
    "zero_cost": {"joint_rho", "joint_regret_points", "synflow_agreement", "all_proxies_s"},
}
TIMEOUT_S = 300
PUBLISHED = {  # what some of them compare with
    "dataflow_truth": "accelerators/maestro.csv",
    "systolic_rtl": "accelerators/scalesim.csv",
    "zero_cost": "nb201/zerocost.csv.gz",
}


def test_every_benchmark_is_listed():
    scripts = {file.stem for file in BENCHMARKS.glob("*.py")} - {"published_data", "report_format"}

    assert scripts == set(PROMISED)


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_benchmark_prints_what_it_promises(name):
    root = os.environ.get("HWNAS_PUBLISHED_DATA") or BENCHMARKS.parents[1] / "shared/data"
    if name in PUBLISHED and not (Path(root) / PUBLISHED[name]).is_file():
        pytest.skip(f"no {PUBLISHED[name]}; set HWNAS_PUBLISHED_DATA")
    if name == "systolic_rtl" and not simulator_kinds():
        pytest.skip("nothing simulates RTL: install the extra fpga, or Verilator")
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--json"]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=BENCHMARKS
    )

    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["benchmark"] == name
    assert printed["machine"]["cores"] >= 1
    assert PROMISED[name] <= {entry["name"] for entry in printed["results"]}
    assert all(isinstance(entry["value"], int | float) for entry in printed["results"])
