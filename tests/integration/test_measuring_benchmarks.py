"""Benchmarks that measure this machine within limits of time: they run while nothing else does."""

import pytest

PROMISED = {
    "latency_truth": {"within_10pct_digits", "within_5pct_digits", "kendall_tau_digits"},
    "profiling": {"profile_s", "median_relative_iqr"},
    "quickstart": {
        "total_s",
        "test_accuracy",
        "latency_fraction_of_largest",
        "predicted_over_measured",
    },
    "strategies": {"budget_kept_share", "error_single_path_50", "error_proxyless_50"},
    "tvm_rpc": {"rpc_over_local", "upload_and_load_ms_per_kernel"},
    "tvm_tuned": {"mbconv_over_ort", "network_over_ort"},
}


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_benchmark_that_measures_prints_what_it_promises(name, run_quickly):
    run_quickly(name, PROMISED[name])
