"""What a finished model costs on a target, kernel by kernel, without running it.

On targets that are modelled, the model is cut into kernels as runtimes fuse them: an operator with
the element-wise operators that follow it. On targets with a compiler of their own, the compiler
makes the kernels. The cost of the model is the sum of theirs, one after another.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir

from hwnas.backends import Backend, KernelBackend, ModellingBackend
from hwnas.costs import Cost, CostTable, Provenance, Source
from hwnas.costs.compiled import weakest
from hwnas.errors import HwnasError, LoweringError, TableError, TargetError
from hwnas.graph import Graph, Kernel, count_graph, shape_of
from hwnas.graph.graph import WEIGHT_MARK
from hwnas.lowering.model_file import ModelFile, read_model
from hwnas.lowering.onnx_kernels import divide
from hwnas.profiling import Estimate, backend_for, source_of, sum_of_estimates
from hwnas.profiling.cost_rows import kernel_source, modelled_energy_rows, timestamp
from hwnas.profiling.profiler import modelled_rows
from hwnas.profiling.units import describe_kernel
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = ["KernelPrediction", "Prediction", "predict_model"]

_LATENCY, _ENERGY = "latency_s", "energy_j"
_UNCOUNTED = frozenset(
    {"Attention", "ConvInteger", "DFT", "DeformConv", "Einsum", "GRU", "LSTM", "MatMulInteger"}
    | {"QLinearConv", "QLinearMatMul", "RNN", "STFT"}
)  # operators with multiply-accumulates that formulas would take to have none
_FIRST = (_LATENCY, "latency_cycles", _ENERGY)  # the others by name


@dataclass(frozen=True)
class KernelPrediction:
    """What one distinct kernel costs each time.

    Args:
        kernel: It.
        count: How often the model runs it.
        costs: Rows by metric.
    """

    kernel: Kernel
    count: int
    costs: Mapping[str, Cost]


@dataclass(frozen=True)
class Prediction:
    """What a model costs.

    Args:
        source: Target and runtime.
        kernels: Distinct kernels in the order in which they first run.
        unknown: Metrics without a total, and why.
        computed: Kernels that the table did not have and that were computed now.
    """

    source: Source
    kernels: tuple[KernelPrediction, ...]
    unknown: Mapping[str, str]
    computed: int

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that every kernel has, latency first."""
        shared = set.intersection(*(set(found.costs) for found in self.kernels))
        return (*(m for m in _FIRST if m in shared), *sorted(shared.difference(_FIRST)))

    def total(self, metric: str) -> Estimate:
        """Sum over all kernels; intervals are added up."""
        return sum_of_estimates(
            [_estimate(found.costs[metric]).scaled(found.count) for found in self.kernels]
        )

    def provenance(self, metric: str) -> Provenance:
        """Where the least sure of the kernels' numbers comes from."""
        return weakest({found.costs[metric].provenance for found in self.kernels})


def predict_model(
    path: Path, target: Target, table: CostTable, *, progress: Progress = silent
) -> Prediction:
    """Predict what an ONNX file costs.

    Args:
        path: The file, which is hostile.
        target: The device.
        table: Where costs are looked up; those that a formula gives are written to it.
        progress: Called where lowering takes long.

    Raises:
        LoweringError: The file cannot be read, or a kernel cannot be lowered or mapped.
        TargetError: The target does not work here, or a kernel does not fit on it.
        TableError: A kernel of a target that is measured has no row.
    """
    model = read_model(path)
    backend = backend_for(target, table)
    if isinstance(backend, ModellingBackend):
        return _modelled(model, target, backend, table)
    if isinstance(backend, KernelBackend):
        return _compiled(model, target, backend, table, path.name, progress)
    return _looked_up(model, target, backend, table, path.name)


def _modelled(
    model: ModelFile, target: Target, backend: ModellingBackend, table: CostTable
) -> Prediction:
    """Costs by formula; rows that are there are used."""
    available = backend.is_available(target)
    if not available.works:
        raise TargetError(
            f"target {target.name!r} does not work here: {available.reason}; {available.remedy}"
        )
    source = source_of(target, backend)
    graphs, counts = _kernel_graphs(model)
    known = _rows(table, (source,), graphs)
    missing = {key: graph for key, graph in graphs.items() if _LATENCY not in known[key]}
    table.put_target(source.fingerprint, target.name, msgspec.json.encode(target).decode())
    for key, graph in missing.items():
        try:
            rows, kernels = modelled_rows({key: graph}, target, backend, source)
        except HwnasError as error:
            what = describe_kernel(key, graph).signature
            raise type(error)(f"kernel {what}: {error}") from error
        table.put(rows, kernels)
        known[key] = {row.metric: row for row in rows}
    described = {key: describe_kernel(key, graph) for key, graph in graphs.items()}
    return _prediction(source, described, counts, known, len(missing), backend)


def _compiled(
    model: ModelFile,
    target: Target,
    backend: KernelBackend,
    table: CostTable,
    name: str,
    progress: Progress,
) -> Prediction:
    """Costs of the kernels that the target's compiler makes.

    As between blocks of a space, what the compiler only adds to bring the model's inputs and
    results into the layout of its own does not count.
    """
    source = source_of(target, backend)
    graph, weights = _with_weights(model)
    lowered = backend.lower({name: (graph, weights)}, target, pieces=True, progress=progress)
    counts = Counter(lowered.calls[name])
    known = _rows(table, (source,), counts)
    missing = [key for key in counts if _LATENCY not in known[key]]
    if missing:
        examples = ", ".join(lowered.kernels[key].signature for key in missing[:2])
        raise TableError(
            f"{len(missing)} of {len(counts)} kernels of {name} have no latency_s for "
            f"{source.runtime} in {table.path.name} ({examples}): `hwnas profile --space SPACE "
            f"--target {target.name}` fills in those of a space, `hwnas measure` tunes and times "
            "this model as a whole"
        )
    described = {key: lowered.kernels[key] for key in counts}
    return _prediction(source, described, counts, known, 0, backend)


def _looked_up(
    model: ModelFile, target: Target, backend: Backend, table: CostTable, name: str
) -> Prediction:
    """Costs of kernels that were timed one by one inside a network."""
    source = source_of(target, backend)
    graphs, counts = _kernel_graphs(model)
    known = _rows(table, (kernel_source(source), source), graphs)
    missing = [key for key in graphs if _LATENCY not in known[key]]
    if missing:
        raise TableError(
            f"{len(missing)} of {len(graphs)} kernels of {name} have no latency_s for "
            f"{source.runtime} in {table.path.name}: on {target.name} blocks of spaces are "
            "measured, in the fusions and layouts that they have there, and a block is no kernel "
            f"of another model; `hwnas measure {name} --target {target.name}` times the model"
        )
    described = {key: describe_kernel(key, graph) for key, graph in graphs.items()}
    taken = timestamp()
    for key, graph in graphs.items():
        if _ENERGY not in known[key]:
            for row in modelled_energy_rows(key, source, count_graph(graph), target, taken):
                known[key][_ENERGY] = row
    return _prediction(source, described, counts, known, 0, backend)


def _kernel_graphs(model: ModelFile) -> tuple[dict[str, Graph], Counter[str]]:
    """Distinct kernels by key in the order in which they first run, and how often each runs."""
    graphs: dict[str, Graph] = {}
    counts: Counter[str] = Counter()
    for kernel in divide(model.model, model.weights)[1]:
        if kernel.key is None or kernel.graph is None:
            raise LoweringError(
                f"operators {kernel.signature} ({kernel.name}) have a result of unknown size or "
                "are none of ONNX's own: sizes are needed to predict what they cost"
            )
        uncounted = [n.op_type for n in kernel.graph.nodes if n.op_type in _UNCOUNTED]
        if uncounted:
            raise LoweringError(
                f"operator {uncounted[0]} ({kernel.signature}) multiplies and adds in a way that "
                "hwnas does not count; measure the model with `hwnas measure`"
            )
        graphs.setdefault(kernel.key, kernel.graph)
        counts[kernel.key] += 1
    return graphs, counts


def _with_weights(model: ModelFile) -> tuple[Graph, dict[str, np.ndarray]]:
    """The model with some values: kernels do not depend on them, but folding divides by them."""
    try:
        graph = Graph(ir.from_proto(model.model))
    except ir.serde.SerdeError as error:
        raise LoweringError(f"the model is malformed: {error}") from error
    rng = np.random.default_rng(0)
    weights = {}
    for value in graph.model.graph.inputs:
        if value.name not in model.weights:
            continue
        if value.dtype != ir.DataType.FLOAT:
            raise LoweringError(f"weight {value.name!r} is {value.dtype}; float32 can be lowered")
        value.meta[WEIGHT_MARK] = True
        weights[value.name] = rng.uniform(0.8, 1.2, shape_of(value)).astype(np.float32)
    return graph, weights


def _rows(
    table: CostTable, sources: tuple[Source, ...], keys: Collection[str]
) -> defaultdict[str, dict[str, Cost]]:
    """Rows by key and metric; of a later source before those of an earlier one."""
    found: defaultdict[str, dict[str, Cost]] = defaultdict(dict)
    for source in sources:
        for row in table.rows(source):
            if row.key in keys:
                found[row.key][row.metric] = row
    return found


def _prediction(
    source: Source,
    kernels: Mapping[str, Kernel],
    counts: Mapping[str, int],
    costs: Mapping[str, Mapping[str, Cost]],
    computed: int,
    backend: Backend,
) -> Prediction:
    found = [KernelPrediction(kernel, counts[key], costs[key]) for key, kernel in kernels.items()]
    unknown = {}
    lacking = sum(_ENERGY not in prediction.costs for prediction in found)
    if lacking == len(found):
        unknown[_ENERGY] = f"backend {backend.name} gives no energy"
    elif lacking:
        unknown[_ENERGY] = f"{lacking} of {len(found)} kernels have no row"
    return Prediction(source, tuple(found), unknown, computed)


def _estimate(row: Cost) -> Estimate:
    return Estimate(row.value, row.low, row.high, row.spread, row.repeats, row.outliers)
