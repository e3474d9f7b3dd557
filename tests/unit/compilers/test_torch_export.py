import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import fx

pytest.importorskip("onnxscript", reason="needs the extra that brings onnxscript")

from hwnas.compilers import torch_export
from hwnas.compilers.torch_export import check_exporter, export_graph
from hwnas.errors import LoweringError, PluginError


def test_every_tensor_argument_is_an_input_and_integers_are_constants():
    def graph(x, size, weight):
        return (x.reshape(size, -1) @ weight,)

    x, weight = torch.randn(2, 3, 4), torch.randn(12, 5)
    exported = export_graph(fx.symbolic_trace(graph), (x, 2, weight))

    session = ort.InferenceSession(exported.model.SerializeToString())
    given = {exported.inputs[0]: x.numpy(), exported.inputs[2]: weight.numpy()}
    assert sorted(exported.inputs) == [0, 2]
    np.testing.assert_allclose(
        session.run(None, given)[0], (x.reshape(2, -1) @ weight).numpy(), atol=1e-5
    )


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda x: (torch.bernoulli(x),), "random"),
        (lambda x: (torch.nn.functional.dropout(x, 0.5, True),), "random"),
        (lambda x: (x.half().sum(),), "float16"),
        (lambda x: (x.to(torch.complex64).real,), "complex64"),
        (lambda x: (x.add_(1.0) * 2.0,), "in place"),
        (lambda x: (x, 3), "no tensor"),
        (lambda x: (torch.linalg.eigvalsh(x @ x.T),), "eigh"),
    ],
    ids=["random", "dropout", "half", "complex", "in place", "number", "operator"],
)
def test_what_cannot_be_lowered_is_named(graph, words):
    with pytest.raises(LoweringError, match=words):
        export_graph(fx.symbolic_trace(graph), (torch.rand(3, 3),))


def test_dropout_outside_training_is_lowered():
    def graph(x):
        return (torch.nn.functional.dropout(x, 0.5, False) + 1.0,)

    assert export_graph(fx.symbolic_trace(graph), (torch.rand(3),)).model.graph.node


def test_tensors_that_are_not_dense_are_refused():
    graph = fx.symbolic_trace(lambda x: (x * 2.0,))

    with pytest.raises(LoweringError, match="sparse"):
        export_graph(graph, (torch.eye(3).to_sparse(),))
    with pytest.raises(LoweringError, match="meta"):
        export_graph(graph, (torch.empty(3, device="meta"),))


def test_missing_exporter_names_the_extra(monkeypatch):
    monkeypatch.setattr(torch_export, "find_spec", lambda name: None)

    with pytest.raises(PluginError, match=r"hwnas\[compile\]"):
        check_exporter()
