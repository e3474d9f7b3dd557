"""Costs that are counted from graphs and need no target: operations, weights, bytes.

Every count of a network is the sum of the counts of its blocks' fragments, so a count compiles
into slots like a measured cost and whole populations are counted in C++. Samplers that draw by
operations and baselines that rank by parameters use it.
"""

from collections.abc import Sequence
from dataclasses import fields
from functools import cache, partial

from hwnas.costs.compiled import (
    CompiledCosts,
    assemble_costs,
    count_column,
    fragments_by_slot,
)
from hwnas.costs.table import Source
from hwnas.errors import SpaceError
from hwnas.graph import Graph, GraphCounts, count_graph
from hwnas.spaces import SearchSpace

__all__ = ["COUNTED_METRICS", "count_costs"]

#: What can be counted: the fields of `GraphCounts`, all of them sums over operators or weights.
COUNTED_METRICS = tuple(field.name for field in fields(GraphCounts))

_SOURCE = Source(fingerprint="counted", runtime="graph shapes")


def count_costs(space: SearchSpace, metrics: Sequence[str] = ("macs", "params")) -> CompiledCosts:
    """Counts of every architecture of a space, as compiled costs with provenance `modelled`.

    The slots are exact; `CompiledCosts.cost` returns them as float32, that is to 1e-6.

    Args:
        space: The space.
        metrics: Names from `COUNTED_METRICS`, at least one.

    Raises:
        SpaceError: A metric cannot be counted, or there is none.
    """
    unknown = [metric for metric in metrics if metric not in COUNTED_METRICS]
    if unknown or not metrics:
        asked = repr(unknown[0]) if unknown else "no metric"
        raise SpaceError(f"cannot count {asked}; available: {', '.join(COUNTED_METRICS)}")
    fragments = fragments_by_slot(space)
    counts = cache(count_graph)

    def count(graph: Graph, metric: str) -> float:
        return float(getattr(counts(graph), metric))

    columns = [count_column(fragments, partial(count, metric=metric)) for metric in metrics]
    return assemble_costs(space, _SOURCE, metrics, columns)
