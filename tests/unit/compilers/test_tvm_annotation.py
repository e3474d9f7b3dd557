import numpy as np
import pytest

from hwnas.costs import Cost, CostTable
from hwnas.targets import get_target
from hwnas.tvm_worker import tvm_runtime


@pytest.fixture
def table(tmp_path):
    with CostTable(tmp_path / "costs.sqlite") as opened:
        yield opened


@pytest.fixture
def fused(network):
    from hwnas.tvm_worker.relax_module import fuse

    return fuse(network)


def row(key, metric="latency_s", value=1e-3, provenance="measured"):
    fingerprint = get_target("cpu").fingerprint
    numbers = (value, value, value, 0.0, 9, 0)
    return Cost(key, fingerprint, tvm_runtime(), metric, *numbers, provenance, "2026-01-01")


def annotated(module, table, target="cpu"):
    from hwnas.compilers.tvm_annotation import AnnotateCosts

    return AnnotateCosts(table, get_target(target))(module)


def attributes(module):
    return {where.name_hint: dict(f.attrs) for where, f in module.functions_items()}


def keys(module):
    from hwnas.compilers.tvm_annotation import describe_kernels

    return [kernel.key for _, kernel in sorted(describe_kernels(module).items())]


def test_without_rows_latency_is_unknown_and_never_a_number(fused, table):
    found = attributes(annotated(fused, table))

    names = sorted(set(found) - {"main"})
    assert len(names) > 1
    for attrs in found.values():
        assert attrs["hwnas.provenance"] == "unknown"
        assert "hwnas.latency_s" not in attrs
        assert attrs["hwnas.energy_provenance"] == "modelled"
        assert attrs["hwnas.energy_j"] > 0.0
    assert found["main"]["hwnas.missing"].split() == names


def test_one_missing_kernel_leaves_the_network_without_prediction(fused, table):
    first, *others = keys(fused)
    table.put([row(first, value=2e-3)])

    found = attributes(annotated(fused, table))

    assert "hwnas.latency_s" not in found["main"]
    assert len(found["main"]["hwnas.missing"].split()) == len(others) > 0
    known = [a for n, a in found.items() if n != "main" and "hwnas.latency_s" in a]
    assert [(a["hwnas.kernel"], a["hwnas.latency_s"]) for a in known] == [(first, 2e-3)]


def test_network_is_the_sum_of_its_calls_with_the_weakest_provenance(fused, table):
    first, *others = keys(fused)
    table.put([row(first, value=2e-3, provenance="published")])
    table.put([row(key, value=3e-3) for key in others])
    table.put([row(key, "energy_j", 0.25) for key in (first, *others)])

    main = attributes(annotated(fused, table))["main"]

    assert main["hwnas.latency_s"] == pytest.approx(2e-3 + 3e-3 * len(others))
    assert main["hwnas.provenance"] == "published"
    assert main["hwnas.energy_j"] == pytest.approx(0.25 * (1 + len(others)))
    assert main["hwnas.energy_provenance"] == "measured"
    assert "hwnas.missing" not in main


def test_energy_without_row_is_counted_work_times_the_constants_of_the_target(fused, table):
    model = get_target("cpu").energy

    for name, attrs in attributes(annotated(fused, table)).items():
        if name != "main":
            moved = attrs["hwnas.activation_bytes"] + attrs["hwnas.weight_bytes"]
            expected = model.energy_j_per_mac * attrs["hwnas.macs"]
            expected += model.energy_j_per_byte * moved
            assert attrs["hwnas.energy_j"] == pytest.approx(expected)


def test_rows_of_another_target_do_not_count(fused, table):
    table.put([row(key) for key in keys(fused)])

    found = attributes(annotated(fused, table, "simulated"))

    assert {attrs["hwnas.provenance"] for attrs in found.values()} == {"unknown"}


def test_annotating_twice_follows_the_table_and_keeps_keys(fused, table):
    once = annotated(fused, table)
    table.put([row(key) for key in keys(fused)])

    twice = annotated(once, table)

    assert keys(twice) == keys(once) == keys(fused)
    assert attributes(twice)["main"]["hwnas.latency_s"] == pytest.approx(1e-3 * len(keys(fused)))
    assert "hwnas.missing" not in attributes(twice)["main"]


def test_call_that_is_no_kernel_leaves_the_network_without_prediction(tvm, table):
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit(relax.op.call_dps_packed("anything", (x,), out_ty=x.ty))
            output = builder.emit_output(y)
        builder.emit_func_output(output)

    main = attributes(annotated(builder.get(), table))["main"]

    assert main["hwnas.missing"] == "relax.call_dps_packed"
    assert "hwnas.energy_j" not in main


def test_function_with_symbolic_shape_is_unknown(tvm, table):
    n = tvm.te.var("n")
    a = tvm.te.placeholder((n,), name="a")
    b = tvm.te.compute((n,), lambda i: a[i] + 1.0, name="b")
    module = tvm.IRModule({"add": tvm.te.create_prim_func([a, b])})

    attrs = attributes(annotated(module, table))["add"]

    assert attrs["hwnas.provenance"] == attrs["hwnas.energy_provenance"] == "unknown"
    assert "hwnas.kernel" not in attrs


def test_reshape_is_a_view_and_not_missing(tvm, table):
    from hwnas.graph import GraphBuilder
    from hwnas.lowering import random_weights, to_onnx
    from hwnas.tvm_worker.relax_module import fuse, import_onnx

    builder = GraphBuilder("n")
    x = builder.input("x", (1, 4, 2, 2))
    builder.output(builder.gemm(builder.flatten(x), 3, name="gemm"), "y")
    graph = builder.build()
    model = to_onnx(graph, random_weights(graph, np.random.default_rng(0)))
    fused = fuse(import_onnx(model.SerializeToString()))
    (key,) = keys(fused)
    table.put([row(key)])

    found = attributes(annotated(fused, table))

    assert {a["hwnas.provenance"] for a in found.values()} == {"measured", "view"}
    assert found["main"]["hwnas.latency_s"] == pytest.approx(1e-3)
