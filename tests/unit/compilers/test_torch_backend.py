"""Models of anyone through `torch.compile(backend="hwnas")`."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

pytest.importorskip("onnxscript", reason="needs the extra that brings onnxscript")

from hwnas.compilers import torch_backend
from hwnas.costs import CostTable
from hwnas.errors import PluginError, TargetError


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    monkeypatch.setattr(torch_backend, "default_table_path", lambda: tmp_path / "none.sqlite")
    torch._dynamo.reset()
    torch_backend.reset_report()
    torch.manual_seed(0)


def conv_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 5)

    def forward(self, x):
        return self.lstm(x)[0]


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x).relu()
        torch._dynamo.graph_break()
        return self.second(x)


def run_both(model, *inputs, **options):
    """Compiled and eager result of a model, and the report."""
    compiled = torch.compile(model, backend="hwnas", **options)
    with torch.no_grad():
        found = compiled(*inputs)
        wanted = model(*inputs)
    return compiled, found, wanted


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (conv_net(), (2, 3, 16, 16)),
        (nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4)), (3, 8)),
        (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (2, 5, 16)),
    ],
    ids=["conv", "mlp", "transformer"],
)
def test_lowered_model_gives_eager_results_and_costs(model, shape):
    _, found, wanted = run_both(model.eval(), torch.randn(shape))
    report = torch_backend.last_report(repeats=3)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    (graph,) = report.graphs
    assert graph.runtime.startswith("onnxruntime ")
    assert graph.reason == ""
    assert graph.calls == 1
    assert sum(kernel.share or 0.0 for kernel in report.kernels) == pytest.approx(1.0)
    assert any((kernel.measured_latency_s or 0.0) > 0.0 for kernel in report.kernels)
    assert all(kernel.predicted_latency_s is None for kernel in report.kernels)
    assert {kernel.energy_provenance for kernel in report.kernels} == {"modelled"}
    assert report.kernels[0].signature in str(report)


def test_lstm_runs_eagerly_and_the_report_says_why():
    _, found, wanted = run_both(Lstm().eval(), torch.randn(3, 1, 4))

    report = torch_backend.last_report()

    torch.testing.assert_close(found, wanted)
    assert report.graphs == ()
    assert any("LSTM" in reason for reason in report.graph_breaks)
    assert "LSTM" in str(report)


def test_graph_break_gives_two_lowered_graphs():
    _, found, wanted = run_both(Broken().eval(), torch.randn(3, 4))

    report = torch_backend.last_report(measure=False)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert [graph.reason for graph in report.graphs] == ["", ""]
    assert report.graph_breaks
    assert {kernel.measured_latency_s for kernel in report.kernels} == {None}


@pytest.mark.parametrize("how", ["in place", "through data", "state dict", "another tensor"])
def test_changed_weights_are_seen(how):
    model = nn.Sequential(nn.Linear(4, 4)).eval()
    x = torch.randn(3, 4)
    compiled, before, _ = run_both(model, x)

    with torch.no_grad():
        if how == "in place":
            model[0].weight.mul_(2.0)
        elif how == "through data":
            model[0].weight.data.mul_(2.0)
        elif how == "state dict":
            model.load_state_dict({k: 2.0 * v for k, v in model.state_dict().items()})
        else:
            model[0].weight = nn.Parameter(2.0 * model[0].weight)
        found = compiled(x)
        wanted = model(x)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert not torch.allclose(found, before, rtol=0, atol=1e-2)


def test_every_new_shape_is_lowered():
    model = conv_net().eval()
    compiled = torch.compile(model, backend="hwnas")
    inputs = [torch.randn(1, 3, side, 8 + side) for side in (8, 12, 16)]

    with torch.no_grad():
        for x in inputs:
            torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=1e-4)
    report = torch_backend.last_report(measure=False)

    assert [graph.reason for graph in report.graphs] == ["", "", ""]
    assert [graph.name.split("(")[1] for graph in report.graphs] == [
        "1x3x8x16)",
        "1x3x12x20)",
        "1x3x16x24)",
    ]


def test_integer_inputs_are_lowered_and_half_precision_is_not():
    embedding = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 3)).eval()
    _, found, wanted = run_both(embedding, torch.randint(0, 10, (2, 5)))
    half = nn.Linear(4, 4).half().eval()
    _, found_half, wanted_half = run_both(half, torch.randn(3, 4).half())

    report = torch_backend.last_report(repeats=3)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(found_half, wanted_half)
    assert [graph.runtime == "eager" for graph in report.graphs] == [False, True]
    assert "float16" in report.graphs[1].reason


def test_training_runs_eagerly_with_gradients_and_running_statistics():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    compiled = torch.compile(model, backend="hwnas")
    x = torch.randn(2, 3, 8, 8)

    compiled(x).sum().backward()
    with torch.no_grad():
        compiled(x)
    reasons = [graph.reason for graph in torch_backend.last_report().graphs]

    assert model[0].weight.grad is not None
    assert model[1].num_batches_tracked == 2
    assert any("gradients" in reason for reason in reasons)
    assert any("in place" in reason for reason in reasons)


def test_dropout_in_training_mode_stays_random():
    model = nn.Dropout(0.5).train()
    compiled = torch.compile(model, backend="hwnas")

    with torch.no_grad():
        first, second = compiled(torch.ones(200)), compiled(torch.ones(200))
    (graph,) = torch_backend.last_report().graphs

    assert not torch.equal(first, second)
    assert "random" in graph.reason


def test_inputs_changed_in_place_are_changed():
    def add_one(x):
        x.add_(1.0)
        return 2.0 * x

    x = torch.ones(3)
    with torch.no_grad():
        found = torch.compile(add_one, backend="hwnas")(x)

    assert found.tolist() == [4.0] * 3
    assert x.tolist() == [2.0] * 3


def test_recorded_kernels_are_predicted_next_time(tmp_path):
    path = tmp_path / "costs.sqlite"
    x = torch.randn(1, 3, 32, 32)
    run_both(conv_net().eval(), x)
    with CostTable(path) as table:
        written = torch_backend.record_costs(table, repeats=5)
        rows = list(table.rows())
    torch._dynamo.reset()
    torch_backend.reset_report()

    run_both(conv_net().eval(), x, options={"table": path})
    report = torch_backend.last_report(measure=False)

    assert written == len(rows) > 0
    assert {row.provenance for row in rows} == {"measured"}
    assert {row.repeats for row in rows} == {5}
    predicted = {k.key: k.predicted_latency_s for k in report.kernels if k.latency_provenance}
    assert predicted == {row.key: row.value for row in rows}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"runtine": "tvm"}, PluginError, "runtine"),
        ({"runtime": "tensorrt"}, PluginError, "tensorrt"),
        ({"target": "nowhere"}, TargetError, "nowhere"),
        ({"table": "/nowhere/costs.sqlite"}, PluginError, "/nowhere/costs.sqlite"),
        ({"threads": "two"}, PluginError, "two"),
    ],
)
def test_bad_options_are_named(options, error, words):
    compiled = torch.compile(nn.Linear(2, 2), backend="hwnas", options=options)

    with pytest.raises(BackendCompilerFailed, match=words) as caught, torch.no_grad():
        compiled(torch.ones(1, 2))

    assert type(caught.value.inner_exception) is error


def test_torch_finds_the_backend_by_its_name_without_importing_hwnas():
    program = "import torch; print('hwnas' in torch._dynamo.list_backends())"

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )

    assert done.stdout.strip() == "True"
