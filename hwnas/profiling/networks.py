"""Measure whole networks, in turns with others whose cost is known."""

import time
from collections.abc import Mapping

import numpy as np

from hwnas.backends import Executable, MeasuringBackend
from hwnas.costs import CostTable, Source
from hwnas.lowering import random_weights
from hwnas.profiling.drift import relative_slowness
from hwnas.profiling.estimate import Estimate, estimate_median
from hwnas.profiling.protocol import Protocol
from hwnas.profiling.reference import reference_graph, reference_key
from hwnas.progress import Progress, silent
from hwnas.spaces import SearchSpace
from hwnas.targets import Target

__all__ = ["Anchors", "measure_networks", "reference_anchor", "space_anchors"]

_REVIEW_S = 0.5
_MOST_ANCHORS = 8

Anchors = Mapping[Executable, float]
"""Executables and what they cost when the table was made, in s."""


def reference_anchor(
    backend: MeasuringBackend, target: Target, table: CostTable, source: Source
) -> dict[Executable, float]:
    """The reference kernel, if the table has it; for networks of no known space."""
    row = table.lookup(source, "latency_s").get(reference_key())
    if row is None:
        return {}
    graph = reference_graph()
    weights = random_weights(graph, np.random.default_rng(0))
    return {backend.compile(graph, weights, target): row.value}


def space_anchors(
    space: SearchSpace,
    backend: MeasuringBackend,
    target: Target,
    table: CostTable,
    source: Source,
) -> dict[Executable, float]:
    """Some of the space's networks that were measured with its blocks, from small to large.

    Networks of one space use caches and memory alike, so they tell the machine's speed for each
    other better than a small kernel can.
    """
    rows = table.lookup(source, "latency_s")
    known = [(rows[k].value, i) for i, k in table.networks(space.name).items() if k in rows]
    known.sort()
    steps = np.linspace(0, len(known) - 1, _MOST_ANCHORS + 2)[1:-1].round().astype(int)
    anchors: dict[Executable, float] = {}
    for position in sorted(set(steps.tolist())) if known else []:
        value, indices = known[position]
        graph = space.network(space.architecture(np.array(indices)))
        weights = random_weights(graph, np.random.default_rng(0))
        anchors[backend.compile(graph, weights, target)] = value
    return anchors


def measure_networks(
    networks: Mapping[str, Executable],
    target: Target,
    backend: MeasuringBackend,
    *,
    protocol: Protocol,
    rng: np.random.Generator,
    anchors: Anchors | None = None,
    progress: Progress = silent,
) -> dict[str, Estimate]:
    """Latency of every network in s.

    The networks are timed in turns, in an order drawn anew each round, with an anchor after each.
    Results are brought to the speed that the machine had when the anchors' costs were measured:
    predicted and measured cost then compare, on a machine that is now slower or faster.

    Args:
        networks: What to measure, by any name; none gives an empty result.
        target: The device.
        backend: Its backend.
        protocol: Settings; measuring stops when all intervals are small enough or time is up.
        rng: Draws the order.
        anchors: From `space_anchors` or `reference_anchor`; without any, the machine's speed now
            is what counts.
        progress: Called with a line of text and the share done.
    """
    names = list(networks)
    if not names:
        return {}
    known = dict(anchors or {})
    executables: list[Executable] = [*networks.values(), *known]
    stream: list[tuple[int, float]] = []
    begin = reviewed = time.monotonic()
    rounds = 0
    while True:
        for i in rng.permutation(len(names)).tolist():
            turn = [i]
            if known:
                turn.append(len(names) + rounds % len(known))
                rounds += 1
            for item in turn:
                sample = backend.sample(
                    [executables[item]], target, warmup=protocol.warmup, passes=protocol.passes
                )
                stream.append((item, float(sample[0, 0])))
        now = time.monotonic()
        timeout = now - begin > protocol.limit_s
        if now - reviewed < _REVIEW_S and not timeout:
            continue
        found = _estimates(stream)
        reviewed = time.monotonic()
        settled = [
            name
            for item, name in enumerate(names)
            if found[item].repeats >= protocol.minimum_repeats
            and found[item].relative_interval <= protocol.interval
        ]
        share = max(len(settled) / len(names), (now - begin) / protocol.limit_s)
        progress(f"measuring {len(names)} networks, {len(settled)} settled", min(1.0, share))
        if timeout or len(settled) == len(names):
            break
    scales = [
        then / found[item].value
        for item, then in enumerate(known.values(), start=len(names))
        if item in found
    ]
    scale = float(np.median(scales)) if scales else 1.0
    return {name: found[item].scaled(scale) for item, name in enumerate(names)}


def _estimates(stream: list[tuple[int, float]]) -> dict[int, Estimate]:
    items = np.array([item for item, _ in stream], dtype=np.intp)
    values = np.array([value for _, value in stream])
    steady = values / relative_slowness(items, values)
    return {int(item): estimate_median(steady[items == item]) for item in np.unique(items)}
