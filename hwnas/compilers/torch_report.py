"""What `torch.compile(backend="hwnas")` did, and what its kernels cost."""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["GraphReport", "KernelReport", "Report"]

_SIGNATURE_WIDTH = 60


@dataclass(frozen=True)
class KernelReport:
    """One kernel of one graph.

    Args:
        signature: One readable line.
        key: Its key in cost tables; None where a shape is not known.
        predicted_latency_s: From the table; None without a row.
        latency_provenance: Where that comes from.
        predicted_energy_j: From the table, or counted operations and bytes times the target's
            constants; None where there is nothing to count.
        energy_provenance: Where that comes from.
        measured_latency_s: Median, None if not measured.
        share: Of the time of all kernels of the graph.
    """

    signature: str
    key: str | None
    predicted_latency_s: float | None
    latency_provenance: str | None
    predicted_energy_j: float | None
    energy_provenance: str | None
    measured_latency_s: float | None
    share: float | None


@dataclass(frozen=True)
class GraphReport:
    """One graph that torch handed over, with inputs of one shape.

    Args:
        name: Number of the graph, and the shapes of its data inputs.
        runtime: What runs it, such as `onnxruntime 1.31.1`, or `eager`.
        reason: Why it runs eagerly; empty otherwise.
        calls: How often it was called.
        kernels: In the order of the graph; empty if it runs eagerly.
        measured_latency_s: Of the whole graph without any watch; None if not measured.
        bias: What is known to be wrong with the kernels' times; empty if they were not measured.
    """

    name: str
    runtime: str
    reason: str
    calls: int
    kernels: tuple[KernelReport, ...] = ()
    measured_latency_s: float | None = None
    bias: str = ""

    @property
    def predicted_latency_s(self) -> float | None:
        """Sum over the kernels; None if there are none, or one has no prediction."""
        parts = [kernel.predicted_latency_s for kernel in self.kernels]
        known = [part for part in parts if part is not None]
        return sum(known) if parts and len(known) == len(parts) else None


@dataclass(frozen=True)
class Report:
    """All graphs of a process that are in use; `str()` gives a table.

    Args:
        graphs: In the order of compilation.
        graph_breaks: Why torch divided models or kept parts of them to itself.
    """

    graphs: tuple[GraphReport, ...]
    graph_breaks: tuple[str, ...]

    @property
    def kernels(self) -> tuple[KernelReport, ...]:
        """Kernels of all graphs."""
        return tuple(kernel for graph in self.graphs for kernel in graph.kernels)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if not self.graphs:
            yield "no graph reached hwnas: call the compiled model first"
        for graph in self.graphs:
            how = f"eager: {graph.reason}" if graph.reason else graph.runtime
            total = _milliseconds(graph.measured_latency_s)
            yield f"{graph.name}: {how}; {graph.calls} calls; measured {total}"
            if graph.kernels:
                yield (
                    f"  {'kernel':{_SIGNATURE_WIDTH}} {'measured':>10} {'share':>6} "
                    f"{'predicted':>10} {'from':>9} {'energy':>10} {'from':>9}"
                )
            for kernel in graph.kernels:
                share = "-" if kernel.share is None else f"{100 * kernel.share:.1f}%"
                energy = kernel.predicted_energy_j
                yield (
                    f"  {_shortened(kernel.signature):{_SIGNATURE_WIDTH}} "
                    f"{_milliseconds(kernel.measured_latency_s):>10} {share:>6} "
                    f"{_milliseconds(kernel.predicted_latency_s):>10} "
                    f"{kernel.latency_provenance or '-':>9} "
                    f"{'-' if energy is None else f'{1e6 * energy:.3g}uJ':>10} "
                    f"{kernel.energy_provenance or '-':>9}"
                )
            if graph.bias:
                yield f"  ({graph.bias})"
        for reason in self.graph_breaks:
            yield f"torch kept a part to itself: {reason}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SIGNATURE_WIDTH else f"{text[: _SIGNATURE_WIDTH - 1]}…"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1e3 * seconds:.3g}ms"
