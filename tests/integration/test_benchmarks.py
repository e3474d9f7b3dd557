"""Benchmarks run with `--quick --json` and print the results that they promise."""

import os
from pathlib import Path

import pytest

from hwnas.fpga.simulator import simulator_kinds

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MEASURING = {
    "quickstart",
    "tvm_rpc",
    "profiling",
    "tvm_tuned",
    "latency_truth",
    "strategies",
}  # in a file of their own
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
    "predictor_search": {"nb201_predictor-guided_regret_50", "resnet9_proposals_volume_50"},
    "systolic_rtl": {"cycles_exact_share", "outputs_exact_share", "scalesim_exact_share"},
    "supernet_ranking": {"noise_ceiling_tau", "tau_sandwich", "tau_parameter_count"},
    "training_step": {
        "single_path_step_ratio",
        "sandwich_step_ratio",
        "superkernel_step_ratio",
        "proxyless_two_path_memory_ratio",
    },
    "zero_cost": {"joint_rho", "joint_regret_points", "synflow_agreement", "all_proxies_s"},
}
PUBLISHED = {  # what some of them compare with
    "dataflow_truth": "accelerators/maestro.csv",
    "predictor_search": "nb201/latency.npz",
    "systolic_rtl": "accelerators/scalesim.csv",
    "zero_cost": "nb201/zerocost.csv.gz",
}


def test_every_benchmark_is_listed():
    scripts = {file.stem for file in BENCHMARKS.glob("*.py")}

    assert scripts - {"published_data", "report_format"} == {*PROMISED, *MEASURING}


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_benchmark_prints_what_it_promises(name, run_quickly):
    root = os.environ.get("HWNAS_PUBLISHED_DATA") or BENCHMARKS.parents[1] / "shared/data"
    if name in PUBLISHED and not (Path(root) / PUBLISHED[name]).is_file():
        pytest.skip(f"no {PUBLISHED[name]}; set HWNAS_PUBLISHED_DATA")
    if name == "systolic_rtl" and not simulator_kinds():
        pytest.skip("nothing simulates RTL: install the extra fpga, or Verilator")
    run_quickly(name, PROMISED[name])
