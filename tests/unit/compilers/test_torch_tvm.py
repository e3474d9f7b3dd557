"""Models of anyone through `torch.compile(backend="hwnas", options={"runtime": "tvm"})`."""

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

pytest.importorskip("onnxscript", reason="needs the extra that brings onnxscript")

from hwnas.compilers import torch_backend
from hwnas.tvm_worker import Installation, find_tvm, shared_worker


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    monkeypatch.setattr(torch_backend, "default_table_path", lambda: tmp_path / "none.sqlite")
    torch._dynamo.reset()
    torch_backend.reset_report()
    torch.manual_seed(0)


@pytest.fixture
def sound_tvm():
    found = find_tvm()
    if not found.works:
        pytest.skip(f"{found.found}: {found.remedy}")


def run_both(model, x, options):
    """Compiled and eager result of a model."""
    compiled = torch.compile(model, backend="hwnas", options=options)
    with torch.no_grad():
        return compiled, compiled(x), model(x)


def test_tvm_runs_what_is_tuned_and_nothing_else(sound_tvm, tmp_path):
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU()).eval()
    x = torch.randn(4, 16)
    options = {"runtime": "tvm", "database": tmp_path}
    _, naive, wanted = run_both(model, x, options)
    before = torch_backend.last_report(repeats=3)
    torch._dynamo.reset()
    torch_backend.reset_report()

    compiled, tuned, _ = run_both(model, x, options | {"tune_s": 10})
    after = torch_backend.last_report(repeats=3)
    with torch.no_grad():
        model[0].weight.mul_(2.0)
        changed, wanted_changed = compiled(x), model(x)

    process = shared_worker(1)._process
    process.kill()
    process.wait()
    with torch.no_grad():
        after_crash = compiled(x)

    assert [graph.runtime for graph in before.graphs] == ["eager"]
    assert "no tuning record" in before.graphs[0].reason
    torch.testing.assert_close(naive, wanted)
    assert [graph.reason for graph in after.graphs] == [""]
    assert after.graphs[0].runtime.startswith("tvm ")
    assert sum(kernel.share or 0.0 for kernel in after.kernels) == pytest.approx(1.0)
    torch.testing.assert_close(tuned, wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(changed, wanted_changed, rtol=0, atol=1e-4)
    torch.testing.assert_close(after_crash, wanted_changed)
    assert [graph.runtime for graph in torch_backend.last_report().graphs] == ["eager"]


def test_tvm_without_database_is_refused(sound_tvm):
    compiled = torch.compile(nn.Linear(2, 2), backend="hwnas", options={"runtime": "tvm"})

    with pytest.raises(BackendCompilerFailed, match="database"), torch.no_grad():
        compiled(torch.ones(1, 2))


def test_unsound_tvm_is_refused_with_the_remedy(monkeypatch):
    wrong = Installation(False, "tvm 0.27.0 with tvm-ffi 0.1.15", "pip install the other")
    monkeypatch.setattr(torch_backend, "find_tvm", lambda: wrong)
    compiled = torch.compile(nn.Linear(2, 2), backend="hwnas", options={"runtime": "tvm"})

    with pytest.raises(BackendCompilerFailed, match="pip install the other"), torch.no_grad():
        compiled(torch.ones(1, 2))
