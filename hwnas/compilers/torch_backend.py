"""The backend `hwnas` of `torch.compile`: any model through a runtime, with what its kernels cost.

    model = torch.compile(model, backend="hwnas")
    with torch.no_grad():
        model(x)
    print(last_report())

torch finds it by an entry point of the group `torch_dynamo_backends`. What cannot be lowered runs
eagerly, and the report says why.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import fx

from hwnas.backends.onnxruntime_cpu import OnnxRuntimeCpuBackend
from hwnas.compilers.torch_export import check_exporter
from hwnas.compilers.torch_graph import CompiledGraph, Runtime
from hwnas.compilers.torch_onnxruntime import PROFILE_BIAS, OnnxRuntimeGraph
from hwnas.compilers.torch_report import GraphReport, KernelReport, Report
from hwnas.compilers.torch_tvm import WATCH_BIAS, TvmGraph
from hwnas.costs import (
    Cost,
    CostTable,
    Source,
    default_table_path,
    modelled_energy_j,
)
from hwnas.errors import PluginError
from hwnas.graph import Kernel
from hwnas.lowering.onnx_kernels import OnnxKernel
from hwnas.profiling import estimate_median
from hwnas.profiling.cost_rows import cost_row, kernel_source, timestamp
from hwnas.targets import Target, get_target
from hwnas.tvm_worker import find_tvm, tvm_runtime

__all__ = ["hwnas_backend", "last_report", "record_costs", "reset_report"]

_OPTIONS = ("database", "runtime", "table", "target", "threads", "tune_s")
_REPEATS = 20
_REASONS = ("graph_break", "unimplemented")  # torch's own counters of what it did not record

_compiled: list["weakref.ref[CompiledGraph]"] = []


def hwnas_backend(
    graph: fx.GraphModule,
    example_inputs: Sequence[object],
    *,
    options: Mapping[str, object] | None = None,
    mode: str | None = None,  # noqa: ARG001 (torch passes what the user gave)
) -> Callable[..., object]:
    """What torch calls with each graph of a model.

    Args:
        graph: The graph.
        example_inputs: Its arguments, as torch describes them.
        options: `runtime`, either `onnxruntime` (default) or `tvm`; `target`, a device of hwnas
            (default `cpu`); `threads`; `table`, the cost table's file; and for TVM `database`, the
            folder of tuning records, and `tune_s`, seconds in which kernels of a graph that have
            none are tuned (default 0).
        mode: Not used.

    Raises:
        PluginError: An option is not known, or a package is missing.
        TargetError: There is no such device.
    """
    check_exporter()
    compiled = CompiledGraph(graph, example_inputs, _runtime(dict(options or {})))
    _compiled.append(weakref.ref(compiled))
    return compiled


def last_report(*, measure: bool = True, repeats: int = _REPEATS) -> Report:
    """What the graphs that are in use since `reset_report` run on, and what their kernels cost.

    Args:
        measure: Whether to run every lowered graph now, on the inputs of its first call, and time
            its kernels.
        repeats: Timed runs, at least 1.

    Raises:
        TableError: The cost table is damaged.
    """
    reports: list[GraphReport] = []
    for number, graph in enumerate(_alive()):
        reports.extend(_graph_reports(number, graph, repeats if measure else 0))
    return Report(tuple(reports), tuple(_graph_breaks()))


def record_costs(table: CostTable, *, repeats: int = _REPEATS) -> int:
    """Measure the kernels of the graphs in use and write them, with provenance `measured`.

    Rows have a runtime of their own, `onnxruntime <version> kernels`, because kernels were timed
    inside one network and not by hwnas's measuring protocol; later reports find them. Graphs that
    run in TVM are left out: `hwnas profile` and `CostRecorder` measure its kernels.

    Returns:
        Number of rows; a kernel without key, or without measurable time, gets none.
    """
    costs: dict[tuple[str, str], Cost] = {}
    kernels: dict[str, Kernel] = {}
    taken = timestamp()
    for graph in _alive():
        target = graph.runtime.target
        table.put_target(target.fingerprint, target.name, target.description)
        for variant in graph.variants.values():
            if not isinstance(variant.running, OnnxRuntimeGraph) or variant.example is None:
                continue
            samples, _ = variant.running.sample(variant.example, repeats)
            for kernel in variant.running.kernels:
                times = samples.get(kernel.name)
                if times is None or kernel.key is None or kernel.counts is None:
                    continue
                found = estimate_median(times)
                if found.value <= 0.0:
                    continue
                source = kernel_source(Source(target.fingerprint, graph.runtime.name))
                costs[kernel.key, source.fingerprint] = cost_row(
                    kernel.key, source, "latency_s", found, "measured", taken
                )
                kernels[kernel.key] = Kernel(
                    kernel.key,
                    kernel.signature,
                    kernel.counts.macs,
                    kernel.counts.activation_bytes,
                    kernel.counts.weight_bytes,
                )
    table.put(costs.values(), kernels.values())
    return len(costs)


def reset_report() -> None:
    """Leave out of later reports what was compiled so far."""
    import torch._dynamo.utils

    _compiled.clear()
    for kind in _REASONS:
        torch._dynamo.utils.counters[kind].clear()


def _alive() -> list[CompiledGraph]:
    return [graph for graph in (reference() for reference in _compiled) if graph is not None]


def _runtime(options: dict[str, object]) -> Runtime:
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        raise PluginError(
            f"unknown option {unknown[0]!r} of backend 'hwnas'; known: {', '.join(_OPTIONS)}"
        )
    threads = options.get("threads")
    if threads is not None and not isinstance(threads, int):
        raise PluginError(f"option threads is {threads!r}, not a number")
    target = get_target(str(options.get("target", "cpu"))).with_threads(threads)
    if not target.local:
        raise PluginError(f"target {target.name!r} is not this machine: torch runs here")
    given = options.get("table")
    table = default_table_path() if given is None else Path(str(given))
    if given is not None and not table.is_file():
        raise PluginError(f"no cost table at {table}: run `hwnas profile`, or leave it out")
    known_table = table if table.is_file() else None
    name = options.get("runtime", "onnxruntime")
    if name == "onnxruntime":
        version = OnnxRuntimeCpuBackend().runtime(target)
        load = partial(OnnxRuntimeGraph, target=target)
        return Runtime(version, PROFILE_BIAS, target, known_table, load)
    if name != "tvm":
        raise PluginError(f"unknown runtime {name!r} of backend 'hwnas'; known: onnxruntime, tvm")
    found = find_tvm()
    if not found.works:
        raise PluginError(f"{found.found}: {found.remedy}")
    if "database" not in options:
        raise PluginError(
            "runtime 'tvm' needs option database, a folder with tuning records: untuned code of "
            "TVM's is many times slower than eager mode and is not run"
        )
    tune_s = options.get("tune_s", 0.0)
    if not isinstance(tune_s, int | float):
        raise PluginError(f"option tune_s is {tune_s!r}, not a number of seconds")
    database = Path(str(options["database"]))
    tuned = partial(TvmGraph, target=target, database=database, tune_s=float(tune_s))
    return Runtime(tvm_runtime(), WATCH_BIAS, target, known_table, tuned)


def _graph_reports(number: int, graph: CompiledGraph, repeats: int) -> Iterator[GraphReport]:
    runtime = graph.runtime
    for variant in graph.variants.values():
        name = f"graph {number} ({variant.title})"
        if variant.running is None:
            yield GraphReport(name, "eager", variant.reason, variant.calls)
            continue
        times: dict[str, float] = {}
        whole = None
        if repeats and variant.example is not None:
            times, whole = variant.running.measure(variant.example, repeats)
        yield GraphReport(
            name,
            runtime.name,
            "",
            variant.calls,
            _kernel_reports(runtime, variant.running.kernels, times),
            whole,
            runtime.bias if times else "",
        )
    for reason, calls in graph.eager_calls.items():
        yield GraphReport(f"graph {number}", "eager", reason, calls)


def _kernel_reports(
    runtime: Runtime, kernels: Sequence[OnnxKernel], times: Mapping[str, float]
) -> tuple[KernelReport, ...]:
    latency, energy = _rows(runtime, "latency_s"), _rows(runtime, "energy_j")
    total = sum(times.values())
    reports = []
    for kernel in kernels:
        key = kernel.key or ""
        predicted, joules = latency.get(key), energy.get(key)
        taken = times.get(kernel.name)
        reports.append(
            KernelReport(
                kernel.signature,
                kernel.key,
                None if predicted is None else predicted.value,
                None if predicted is None else predicted.provenance,
                *_energy(kernel, joules, runtime.target),
                taken,
                taken / total if taken is not None and total > 0.0 else None,
            )
        )
    return tuple(reports)


def _energy(
    kernel: OnnxKernel, row: Cost | None, target: Target
) -> tuple[float | None, str | None]:
    """Value in J and provenance."""
    if row is not None:
        return row.value, row.provenance
    if kernel.counts is None:
        return None, None
    return modelled_energy_j(kernel.counts, target.energy), "modelled"


def _rows(runtime: Runtime, metric: str) -> Mapping[str, Cost]:
    if runtime.table is None:
        return {}
    source = Source(runtime.target.fingerprint, runtime.name)
    with CostTable(runtime.table, create=False) as table:
        return table.lookup(kernel_source(source), metric) | table.lookup(source, metric)


def _graph_breaks() -> Iterator[str]:
    import torch._dynamo.utils

    counters = torch._dynamo.utils.counters
    for reason in dict.fromkeys(reason for kind in _REASONS for reason in counters[kind]):
        lines = [line.strip() for line in str(reason).strip().splitlines() if line.strip()]
        yield " ".join(lines[:2])
