import json

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from hwnas.backends import LoweredGraphs
from hwnas.backends.tvm_cpu import TvmCpuBackend
from hwnas.cli.entry import cli
from hwnas.costs import CostTable, Source
from hwnas.errors import LoweringError, TableError, TargetError
from hwnas.graph import Kernel
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.pipeline import predicting
from hwnas.pipeline.predicting import predict_model
from hwnas.pipeline.profiling import costs_of
from hwnas.profiling import Estimate
from hwnas.profiling.cost_rows import cost_row, kernel_source
from hwnas.spaces import get_space
from hwnas.targets import get_target

TAKEN = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as opened:
        yield opened


def exported(space, architecture, folder):
    """A network as `hwnas export` writes it: batch norm folded."""
    graph = space.network(architecture)
    weights = random_weights(graph, np.random.default_rng(0))
    path = folder / "model.onnx"
    path.write_bytes(to_onnx(*fold_batch_norm(graph, weights)).SerializeToString())
    return path


def raw(nodes, folder, shape=(1, 8, 8, 8), weights=None, output=None):
    tensors = [numpy_helper.from_array(v, n) for n, v in (weights or {}).items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        tensors,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("elsewhere", 1)]
    path = folder / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    )
    return path


def test_on_a_chip_the_sum_of_kernels_is_what_a_search_predicts(table, tmp_path):
    space, target = get_space("mbconv-digits"), get_target("asic_two_core")
    rows = space.sample(4, np.random.default_rng(0))
    costs = costs_of(space, target, table)

    for row, searched in zip(rows, costs.cost(rows), strict=True):
        found = predict_model(exported(space, space.architecture(row), tmp_path), target, table)

        for metric in ("latency_s", "energy_j"):
            expected = searched[costs.metrics.index(metric)]
            assert found.total(metric).value == pytest.approx(float(expected), rel=1e-5)
            assert found.provenance(metric) == "modelled"
        cycles = found.total("latency_cycles").value
        assert cycles == pytest.approx(found.total("latency_s").value * 1e9)


def test_where_each_kernel_has_a_fixed_cost_more_kernels_cost_more(table, tmp_path):
    space, target = get_space("mbconv-digits"), get_target("simulated")
    costs = costs_of(space, target, table)
    row = space.largest().row()

    found = predict_model(exported(space, space.largest(), tmp_path), target, table)

    searched = costs.cost(row[None])[0, costs.metrics.index("latency_s")]
    assert found.total("latency_s").value > float(searched)
    assert found.provenance("latency_s") == "simulated"


def test_kernels_that_the_table_has_are_not_computed_again(table, tmp_path):
    space, target = get_space("mbconv-digits"), get_target("asic_two_core")
    path = exported(space, space.smallest(), tmp_path)

    first, second = (predict_model(path, target, table) for _ in range(2))

    assert first.computed == len(first.kernels)
    assert second.computed == 0
    assert second.total("energy_j") == first.total("energy_j")


def test_equal_kernels_are_one_with_a_count(table, tmp_path):
    weight = np.ones((8, 8, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["y"]),
    ]
    path = raw(nodes, tmp_path, weights={"w": weight}, output=(1, 8, 1, 1))

    found = predict_model(path, get_target("asic_nvdla_like"), table)

    assert [part.count for part in found.kernels] == [2, 1]
    each = [part.costs["latency_s"].value for part in found.kernels]
    assert found.total("latency_s").value == pytest.approx(2 * each[0] + each[1])


def test_a_metric_that_a_backend_does_not_give_is_not_known(table, tmp_path, monkeypatch):
    class LatencyAlone:
        name, provenance = "latency-alone", "modelled"

        def is_available(self, _target):
            return type("Availability", (), {"works": True})()

        def runtime(self, _target):
            return "r"

        def kernel_costs(self, _graph, _target):
            return {"latency_s": 1e-3}

    monkeypatch.setattr(predicting, "backend_for", lambda *_: LatencyAlone())
    path = raw([helper.make_node("Relu", ["x"], ["y"])], tmp_path, output=(1, 8, 8, 8))

    found = predict_model(path, get_target("simulated"), table)

    assert found.metrics == ("latency_s",)
    assert found.unknown == {"energy_j": "backend latency-alone gives no energy"}


class TwoKernels(TvmCpuBackend):
    """Makes of every model the same two kernels, the second called twice."""

    def runtime(self, _target):
        return "tvm 0"

    def lower(self, graphs, _target, *, pieces, progress):
        assert pieces
        kernels = {key: Kernel(key, f"kernel {key}", 10, 4, 4) for key in "ab"}
        return LoweredGraphs(dict.fromkeys(graphs, ("a", "b", "b")), kernels)


def put(table, source, values, provenance="measured"):
    rows = [
        cost_row(key, source, metric, Estimate(value, 0.9 * value, 1.2 * value, 0.0, 9, 0),
                 provenance, TAKEN)
        for (key, metric), value in values.items()
    ]  # fmt: skip
    table.put(rows)


@pytest.fixture
def compiled(table, tmp_path, monkeypatch):
    monkeypatch.setattr(predicting, "backend_for", lambda *_: TwoKernels())
    space = get_space("mbconv-digits")
    target = get_target("tvm-cpu")
    path = exported(space, space.smallest(), tmp_path)
    return lambda: predict_model(path, target, table), Source(target.fingerprint, "tvm 0")


def test_kernels_of_a_compiler_are_looked_up_and_added(table, compiled):
    predict, source = compiled
    put(table, source, {("a", "latency_s"): 1e-3, ("b", "latency_s"): 2e-3})
    put(table, source, {("a", "energy_j"): 1.0, ("b", "energy_j"): 2.0}, "modelled")

    found = predict()

    total = found.total("latency_s")
    assert (total.value, total.low, total.high) == pytest.approx((5e-3, 4.5e-3, 6e-3))
    assert found.provenance("latency_s") == "measured"
    assert found.provenance("energy_j") == "modelled"
    assert found.total("energy_j").value == pytest.approx(5.0)


def test_a_kernel_without_a_row_is_an_error_that_says_what_fills_it(table, compiled):
    predict, source = compiled
    put(table, source, {("a", "latency_s"): 1e-3})

    with pytest.raises(TableError, match=r"1 of 2 kernels .*\(kernel b\).*hwnas profile --space"):
        predict()


def test_on_a_target_of_blocks_a_foreign_model_is_refused(table, tmp_path):
    path = raw([helper.make_node("Relu", ["x"], ["y"])], tmp_path, output=(1, 8, 8, 8))

    with pytest.raises(TableError, match=r"1 of 1 kernels .* is no kernel.*hwnas measure"):
        predict_model(path, get_target("cpu"), table)


def test_kernels_timed_inside_a_network_serve_a_target_of_blocks(table, tmp_path):
    target = get_target("cpu")
    path = raw([helper.make_node("Relu", ["x"], ["y"])], tmp_path, output=(1, 8, 8, 8))
    chip = predict_model(path, get_target("simulated"), table)
    key = chip.kernels[0].kernel.key
    runtime = predicting.backend_for(target, table).runtime(target)
    source = kernel_source(Source(target.fingerprint, runtime))
    put(table, source, {(key, "latency_s"): 1e-6})

    found = predict_model(path, target, table)

    assert found.total("latency_s").value == 1e-6
    assert found.provenance("latency_s") == "measured"
    assert found.provenance("energy_j") == "modelled"


def test_an_operator_of_another_domain_is_refused(table, tmp_path):
    nodes = [
        helper.make_node("Magic", ["x"], ["h"], domain="elsewhere"),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    path = raw(nodes, tmp_path, output=(1, 8, 8, 8))

    with pytest.raises(LoweringError, match=r"Magic.*unknown size"):
        predict_model(path, get_target("simulated"), table)


def test_work_that_nobody_counts_is_refused(table, tmp_path):
    weights = {n: np.zeros((1, 16, 8), np.float32) for n in "wr"}
    nodes = [helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=16)]
    weights["r"] = np.zeros((1, 16, 16), np.float32)
    path = raw(nodes, tmp_path, (5, 1, 8), weights, (5, 1, 1, 16))

    with pytest.raises(LoweringError, match=r"RNN .* does not count"):
        predict_model(path, get_target("simulated"), table)


def test_an_operator_that_a_chip_cannot_map_is_named_with_its_kernel(table, tmp_path):
    nodes = [helper.make_node("TopK", ["x", "k"], ["y", "i"])]
    path = raw(nodes, tmp_path, weights={"k": np.array([2])}, output=(1, 8, 8, 2))

    with pytest.raises(LoweringError, match=r"kernel 1x8x8x8 TopK .*cannot be mapped"):
        predict_model(path, get_target("asic_two_core"), table)


def test_a_layer_that_fits_on_no_core_is_said(table, tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    weights = {"w": np.zeros((1, 1, 1200, 1200), np.float32)}
    path = raw(nodes, tmp_path, (1, 1, 1200, 1200), weights, (1, 1, 1, 1))

    with pytest.raises(TargetError, match="does not fit on 'asic_eyeriss_like'"):
        predict_model(path, get_target("asic_eyeriss_like"), table)


def test_command_prints_one_object_with_kernels_and_totals(tmp_path):
    space = get_space("mbconv-digits")
    path = exported(space, space.smallest(), tmp_path)
    arguments = ["predict", str(path), "--target", "asic_two_core", "--table"]
    arguments.append(str(tmp_path / "t.sqlite"))

    shown = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)

    found = json.loads(shown.stdout)
    assert set(found) == {"model", "target", "threads", "runtime", "fingerprint", "table",
                          "computed", "total", "kernels"}  # fmt: skip
    assert set(found["total"]) == {"latency_s", "latency_cycles", "energy_j"}
    assert set(found["total"]["energy_j"]) == {"value", "low", "high", "provenance"}
    kernels = found["kernels"]
    assert set(kernels[0]) == {"signature", "key", "count", "macs", "share", "costs"}
    assert sum(kernel["share"] for kernel in kernels) == pytest.approx(1.0)
    latency = sum(k["count"] * k["costs"]["latency_s"]["value"] for k in kernels)
    assert latency == pytest.approx(found["total"]["latency_s"]["value"])


def test_command_shows_units_and_provenance(tmp_path):
    path = raw([helper.make_node("Relu", ["x"], ["y"])], tmp_path, output=(1, 8, 8, 8))

    shown = CliRunner().invoke(
        cli, ["predict", str(path), "--target", "asic_two_core", "--table", str(tmp_path / "t")]
    )

    assert "Latency: 0 ns, modelled" in shown.stdout
    assert "Sum of 1 kernels, 1 of them distinct" in shown.stdout
