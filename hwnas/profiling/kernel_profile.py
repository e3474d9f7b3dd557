"""Measure the kernels that a compiler makes of a space's blocks.

The compiler fuses every block into kernels; equal kernels of different blocks are one, which is
tuned once and measured once. They are timed inside networks of the space, together with the
networks as a whole, and the cost of a block is the sum of its kernels.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing

import numpy as np

from hwnas.backends import KernelBackend, KernelBench, RepeatingBench, TuningBudget
from hwnas.costs import (
    Cost,
    CostTable,
    Source,
)
from hwnas.errors import MeasurementError
from hwnas.graph import Graph, GraphCounts, Kernel, count_graph, kernel_key
from hwnas.lowering import Weights, random_weights
from hwnas.profiling.cost_rows import cost_row, modelled_energy_rows, timestamp
from hwnas.profiling.energy_meter import counts_energy
from hwnas.profiling.energy_rows import EnergyRows
from hwnas.profiling.estimate import Estimate, sum_of_estimates
from hwnas.profiling.protocol import Protocol
from hwnas.profiling.recorder import Recorder
from hwnas.profiling.reference import reference_graph, reference_key
from hwnas.profiling.units import Unit, carriers, describe_kernel, spread_networks
from hwnas.progress import Progress
from hwnas.spaces import Architecture, SearchSpace
from hwnas.targets import Target

__all__ = ["KernelProfile"]

log = logging.getLogger(__name__)

_NETWORKS = 20  # for calibration: their kernels are those of the blocks, so few suffice
_REVIEW_S = 0.2  # between two looks at the intervals, at least
_REVIEW_SHARE = 0.1  # of the time that looking may take
_Model = tuple[Graph, Weights]


class KernelProfile:
    """One measuring session for one space.

    Args:
        space: The space.
        target: The device.
        backend: Its backend, with a folder of tuning records.
        source: How rows are marked.
        table: Where rows and samples go.
        protocol: Settings.
        rng: Draws networks and orders.
    """

    def __init__(
        self,
        space: SearchSpace,
        target: Target,
        backend: KernelBackend,
        source: Source,
        table: CostTable,
        protocol: Protocol,
        rng: np.random.Generator,
    ) -> None:
        self._space = space
        self._target = target
        self._backend = backend
        self._source = source
        self._table = table
        self._protocol = protocol
        self._rng = rng
        self._energy = EnergyRows(target, source, table, reference_key())
        self._counts_energy = counts_energy(target)
        self._facts: dict[str, Kernel] = {}
        self._parts: dict[str, tuple[str, ...]] = {}
        self._networks: set[str] = set()

    def run(self, missing: Mapping[str, Unit], tuning: TuningBudget, progress: Progress) -> None:
        """Tune and measure the missing blocks, and write their rows.

        Raises:
            MeasurementError: Kernels are left untuned, or unmeasured; what was done is kept.
        """
        blocks = {key: unit.fragment.graph for key, unit in missing.items()}
        self._lower(blocks, progress, pieces=True)
        networks = self._calibration_networks()
        self._networks = set(networks)
        carrying = self._carriers(missing)
        graphs = {key: self._space.network(a) for key, a in (networks | carrying).items()}
        graphs[reference_key()] = reference_graph()
        self._lower(graphs, progress)
        self._tune(tuning, progress)
        whole = {key: self._with_weights(graph) for key, graph in graphs.items()}
        kernels = {kernel for key in missing for kernel in self._parts[key]}
        wanted = kernels | set(networks) | {reference_key()}
        found = self._measure(whole, kernels, wanted, progress)
        self._write(missing, networks, kernels, found)

    def _lower(
        self, graphs: Mapping[str, Graph], progress: Progress, *, pieces: bool = False
    ) -> None:
        models = {key: self._with_weights(graph) for key, graph in graphs.items()}
        lowered = self._backend.lower(models, self._target, pieces=pieces, progress=progress)
        self._facts |= lowered.kernels
        self._parts |= lowered.calls

    def _tune(self, budget: TuningBudget, progress: Progress) -> None:
        wanted = {kernel for calls in self._parts.values() for kernel in calls}
        seed = int(self._rng.integers(2**31))
        report = self._backend.tune(
            sorted(wanted), self._target, budget, seed=seed, progress=progress
        )
        log.info(
            "%s: %d kernels tuned in %.0f s and %d trials, %d had records",
            self._space.name,
            report.tuned,
            report.seconds,
            report.trials,
            report.reused,
        )
        if report.left:
            examples = ", ".join(self._facts[key].signature for key in report.left[:2])
            raise MeasurementError(
                f"{len(report.left)} of {len(wanted)} kernels of {self._space.name} are not tuned "
                f"yet ({examples}, ...), and untuned code says nothing about them: run the same "
                "command again to go on, with a larger --tune-budget"
            )

    def _measure(
        self,
        networks: Mapping[str, _Model],
        kernels: set[str],
        wanted: set[str],
        progress: Progress,
    ) -> dict[str, Estimate]:
        """Estimates of kernels and networks, batch by batch of networks."""
        recorder = Recorder(self._table, self._source, wanted)
        batches = list(self._batches(networks))
        limit = self._protocol.limit_s / max(1, len(batches))
        for number, batch in enumerate(batches):
            held = {kernel for key in batch for kernel in self._parts[key]} & kernels
            own = (held | set(batch)) & wanted
            if not self._needy(recorder, own) and not self._without_energy(own):
                continue
            models = {key: networks[key] for key in batch}
            bench = self._backend.open_bench(
                models, held, self._target, self._rng, progress=progress
            )
            with closing(bench):
                text = f"measuring, batch {number + 1} of {len(batches)}"
                self._settle(bench, recorder, own, limit, text, progress)
                if isinstance(bench, RepeatingBench):
                    missing = self._without_energy(own)
                    self._energy.measure({k: bench.executable(k) for k in missing}, progress)
        return recorder.estimates()

    def _settle(
        self,
        bench: KernelBench,
        recorder: Recorder,
        wanted: set[str],
        limit_s: float,
        text: str,
        progress: Progress,
    ) -> None:
        """Take samples until every interval is small enough, or time is up."""
        protocol = self._protocol
        begin = time.monotonic()
        due = begin + _REVIEW_S
        needy = self._needy(recorder, wanted)
        try:
            while needy and time.monotonic() - begin < limit_s:
                for items, seconds in bench.round(
                    needy, warmup=protocol.warmup, passes=protocol.passes
                ):
                    recorder.add(items, seconds)
                now = time.monotonic()
                if now > due:
                    needy = self._needy(recorder, wanted)
                    took = time.monotonic() - now
                    due = time.monotonic() + max(_REVIEW_S, took / _REVIEW_SHARE)
                    share = max(1.0 - len(needy) / len(wanted), (now - begin) / limit_s)
                    settled = f"{len(wanted) - len(needy)} of {len(wanted)} settled"
                    progress(f"{text}: {settled}", min(1.0, share))
        finally:  # also when a device is gone or the user stops: what was measured is kept
            recorder.flush()

    def _without_energy(self, keys: set[str]) -> list[str]:
        """Keys whose energy is still to be measured; none where nothing counts it."""
        return sorted(keys - set(self._energy.measured())) if self._counts_energy else []

    def _needy(self, recorder: Recorder, wanted: set[str]) -> set[str]:
        """Keys that are not yet known surely enough."""
        found = recorder.estimates()
        # A kernel of a microsecond need not be known to a hundredth: it is lost in any network.
        shares = [found[k].value / len(self._parts[k]) for k in self._networks & found.keys()]
        smallest = min(shares, default=0.0)
        settled = {
            key
            for key, estimate in found.items()
            if estimate.repeats >= self._protocol.minimum_repeats
            and 0.5 * (estimate.high - estimate.low)
            <= self._protocol.interval * max(estimate.value, smallest)
        }
        return wanted - settled

    def _batches(self, networks: Mapping[str, _Model]) -> Iterator[list[str]]:
        """Networks in groups that fit into memory together."""
        group: list[str] = []
        calls = 0
        for key in networks:
            if group and calls + len(self._parts[key]) > self._protocol.pool_calls:
                yield group
                group, calls = [], 0
            group.append(key)
            calls += len(self._parts[key])
        yield group

    def _calibration_networks(self) -> dict[str, Architecture]:
        count = min(self._protocol.networks, _NETWORKS)
        rows = spread_networks(self._space, count, np.random.default_rng(0))
        return {self._key(a): a for a in map(self._space.architecture, rows)}

    def _carriers(self, missing: Mapping[str, Unit]) -> dict[str, Architecture]:
        """Few networks that hold every kernel of the missing blocks, greedily chosen blocks."""
        open_kernels = {kernel for key in missing for kernel in self._parts[key]}
        chosen: dict[str, Unit] = {}
        while open_kernels:
            key = max(missing, key=lambda k: len(open_kernels.intersection(self._parts[k])))
            chosen[key] = missing[key]
            open_kernels.difference_update(self._parts[key])
        return {self._key(a): a for a in carriers(self._space, chosen, self._rng)}

    def _key(self, architecture: Architecture) -> str:
        return kernel_key(self._space.network(architecture), context="network")

    def _with_weights(self, graph: Graph) -> _Model:
        return graph, random_weights(graph, self._rng)

    def _block_energy(self, block: str, known: Mapping[str, Cost], taken: str) -> list[Cost]:
        """Energy of a block, that of its kernels; no row where one was not measured."""
        parts = [known.get(kernel) for kernel in self._parts[block]]
        if None in parts:
            return []
        estimate = sum_of_estimates(
            [Estimate(p.value, p.low, p.high, p.spread, p.repeats, 0) for p in parts if p]
        )
        return [cost_row(block, self._source, "energy_j", estimate, "measured", taken)]

    def _write(
        self,
        missing: Mapping[str, Unit],
        networks: Mapping[str, Architecture],
        kernels: set[str],
        found: Mapping[str, Estimate],
    ) -> None:
        unmeasured = (kernels | set(networks) | {reference_key()}) - set(found)
        if unmeasured:
            raise MeasurementError(
                f"no time was left to measure all of {self._space.name}: raise --limit, or run "
                "the same command again to go on"
            )
        taken = timestamp()
        energies = self._energy.measured()
        rows: list[Cost] = []
        described: list[Kernel] = []

        def add(key: str, estimate: Estimate, counts: GraphCounts) -> None:
            rows.append(cost_row(key, self._source, "latency_s", estimate, "measured", taken))
            rows.extend(modelled_energy_rows(key, self._source, counts, self._target, taken))

        for key in kernels:
            facts = self._facts[key]
            activations, weights = facts.activation_bytes, facts.weight_bytes
            add(key, found[key], GraphCounts(facts.macs, 0, activations, weights, 1))
            described.append(facts)
        for key, unit in missing.items():
            estimate = sum_of_estimates([found[kernel] for kernel in self._parts[key]])
            add(key, estimate, count_graph(unit.fragment.graph))
            rows.extend(self._block_energy(key, energies, taken))
            described.append(describe_kernel(key, unit.fragment.graph))
        graphs = {key: self._space.network(a) for key, a in networks.items()}
        for key, graph in {**graphs, reference_key(): reference_graph()}.items():
            add(key, found[key], count_graph(graph))
            described.append(describe_kernel(key, graph))
        self._table.put(rows, described)
        self._table.put_networks(self._space.name, {a.indices: key for key, a in networks.items()})
        log.info("%s: %d rows from %s", self._space.name, len(rows), self._source.runtime)
