"""Measure whole networks, side by side and beside the reference kernel."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from hwnas.backends import Executable, MeasuringBackend
from hwnas.costs import CostTable, Source
from hwnas.lowering import random_weights
from hwnas.profiling.drift import relative_slowness
from hwnas.profiling.estimate import Estimate, estimate_median
from hwnas.profiling.protocol import Protocol
from hwnas.profiling.reference import reference_graph, reference_key
from hwnas.profiling.stopwatch import Stopwatch
from hwnas.targets import Target

__all__ = ["measure_networks"]

_REVIEW_S = 0.5


def measure_networks(
    networks: Mapping[str, Executable],
    target: Target,
    backend: MeasuringBackend,
    *,
    protocol: Protocol,
    rng: np.random.Generator,
    table: CostTable | None = None,
    source: Source | None = None,
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> dict[str, Estimate]:
    """Latency of every network in s.

    The networks are timed in turns, in an order drawn anew each round, with the reference kernel
    after each. If the table has the reference kernel for this source, results are brought to the
    speed that the machine had when the table was made; predicted and measured then compare.

    Args:
        networks: What to measure, by any name.
        target: The device.
        backend: Its backend.
        protocol: Settings; measuring stops when all intervals are small enough or time is up.
        rng: Draws the order.
        table: Where to look for the reference kernel.
        source: How the table's rows are marked.
        progress: Called with a line of text and the share done.
    """
    names = list(networks)
    graph = reference_graph()
    reference = backend.compile(graph, random_weights(graph, rng), target)
    stopwatch = Stopwatch(backend, target, protocol)
    stream: list[tuple[int, float]] = []
    begin = reviewed = time.monotonic()
    found: dict[str, Estimate] = {}
    while True:
        for i in rng.permutation(len(names)).tolist():
            for item, executable in ((i, networks[names[i]]), (len(names), reference)):
                stream.append((item, float(stopwatch.sample([executable])[0, 0])))
        now = time.monotonic()
        timeout = now - begin > protocol.limit_s
        if now - reviewed < _REVIEW_S and not timeout:
            continue
        found = _estimates(stream, [*names, reference_key()])
        reviewed = time.monotonic()
        settled = [
            name
            for name in names
            if found[name].repeats >= protocol.minimum_repeats
            and found[name].relative_interval <= protocol.interval
        ]
        share = max(len(settled) / len(names), (now - begin) / protocol.limit_s)
        progress(f"measuring {len(names)} networks: {len(settled)} settled", min(1.0, share))
        if timeout or len(settled) == len(names):
            break
    scale = 1.0
    if table is not None and source is not None:
        then = table.lookup(source, "latency_s").get(reference_key())
        if then is not None:
            scale = then.value / found[reference_key()].value
    return {name: found[name].scaled(scale) for name in names}


def _estimates(stream: list[tuple[int, float]], names: list[str]) -> dict[str, Estimate]:
    items = np.array([item for item, _ in stream], dtype=np.intp)
    values = np.array([value for _, value in stream])
    steady = values / relative_slowness(items, values)
    return {name: estimate_median(steady[items == i]) for i, name in enumerate(names)}
