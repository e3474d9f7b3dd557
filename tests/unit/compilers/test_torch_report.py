import pytest

from hwnas.compilers.torch_report import GraphReport, KernelReport, Report


def kernel(latency_s, measured_s=1e-3):
    provenance = None if latency_s is None else "measured"
    return KernelReport(
        "1x8 Gemm 1x4 macs=32", "0" * 32, latency_s, provenance, 2e-6, "modelled", measured_s, 0.5
    )


def test_sum_is_predicted_only_if_every_kernel_is():
    known = GraphReport("g", "onnxruntime 1", "", 1, (kernel(1e-3), kernel(2e-3)))
    partly = GraphReport("g", "onnxruntime 1", "", 1, (kernel(1e-3), kernel(None)))
    empty = GraphReport("g", "eager", "training", 1)

    assert known.predicted_latency_s == pytest.approx(3e-3)
    assert partly.predicted_latency_s is None
    assert empty.predicted_latency_s is None


def test_table_has_a_line_a_kernel_with_every_number_and_its_origin():
    graphs = (
        GraphReport("graph 0", "onnxruntime 1", "", 3, (kernel(2e-3),), 4e-3, "a bias"),
        GraphReport("graph 1", "eager", "gradients", 2),
    )

    lines = str(Report(graphs, ("an LSTM",))).splitlines()

    assert lines[0] == "graph 0: onnxruntime 1; 3 calls; measured 4ms"
    assert lines[2].split() == [
        *("1x8", "Gemm", "1x4", "macs=32"),
        *("1ms", "50.0%", "2ms", "measured", "2uJ", "modelled"),
    ]
    assert lines[3].strip() == "(a bias)"
    assert lines[4] == "graph 1: eager: gradients; 2 calls; measured -"
    assert lines[5] == "torch kept a part to itself: an LSTM"


def test_missing_numbers_are_dashes_and_an_empty_report_says_what_to_do():
    graph = GraphReport("g", "onnxruntime 1", "", 1, (kernel(None, None),))

    assert str(Report((graph,), ())).splitlines()[2].split()[4:] == [
        *("-", "50.0%", "-", "-", "2uJ", "modelled")
    ]
    assert "call the compiled model" in str(Report((), ()))
