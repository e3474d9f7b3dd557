"""Measure blocks as they run inside networks, where the runtime's networks can be cut at blocks.

Random networks are put together from compiled blocks and run as chains, in the layouts and with
the cache contents of a whole network; every block of a chain is timed. The reference kernel, an
empty kernel and some whole networks are measured in between. Chains that hold the least certain
blocks are run first, until every interval is small enough.
"""

import logging
import time
from collections.abc import Iterator, Sequence

import numpy as np

from hwnas.backends import BlockBackend, BlockExecutable, Executable, LaunchBackend
from hwnas.costs import Cost, CostTable, Source
from hwnas.errors import MeasurementError
from hwnas.graph import Graph, GraphBuilder, kernel_key
from hwnas.lowering import random_weights
from hwnas.profiling.cost_rows import cost_row, timestamp
from hwnas.profiling.device_watch import DeviceWatch
from hwnas.profiling.energy_rows import EnergyRows
from hwnas.profiling.estimate import estimate_median
from hwnas.profiling.protocol import Protocol
from hwnas.profiling.recorder import Recorder
from hwnas.profiling.reference import reference_graph, reference_key
from hwnas.profiling.units import (
    Unit,
    carriers,
    describe_kernel,
    has_branches,
    spread_networks,
)
from hwnas.progress import Progress
from hwnas.spaces import Architecture, SearchSpace
from hwnas.targets import Target

__all__ = ["BlockBench"]

log = logging.getLogger(__name__)

_REVIEW_S = 2.0  # between two looks at the intervals
_CANDIDATES = 32  # chains compared before one is run
_MORE_CARRIERS = 8  # rounds of other networks from which blocks are cut that could not be before

_Pool = dict[str, list[BlockExecutable]]
"""Compiled instances of each block by key."""


def _empty_graph() -> Graph:
    g = GraphBuilder("empty")
    g.output(g.input("input", (1,)), "output")
    return g.build()


EMPTY_KEY = kernel_key(_empty_graph(), context="dispatch")


class BlockBench:
    """One measuring session for one space.

    Args:
        space: The space.
        units: Its distinct blocks.
        target: The device.
        backend: Its backend.
        source: How rows are marked.
        table: Where rows and samples go.
        protocol: Settings.
        rng: Draws chains and orders.
    """

    def __init__(
        self,
        space: SearchSpace,
        units: dict[str, Unit],
        target: Target,
        backend: BlockBackend,
        source: Source,
        table: CostTable,
        protocol: Protocol,
        rng: np.random.Generator,
    ) -> None:
        self._space = space
        self._units = units
        self._target = target
        self._backend = backend
        self._source = source
        self._table = table
        self._protocol = protocol
        self._rng = rng
        self._generation = 0
        self._networks = {
            self._network_key(architecture): architecture
            for row in spread_networks(space, protocol.networks, np.random.default_rng(0))
            for architecture in [space.architecture(row)]
        }
        fixed = {reference_key(), EMPTY_KEY}
        self._recorder = Recorder(table, source, {*units, *self._networks, *fixed})
        self._energy = EnergyRows(target, source, table, EMPTY_KEY)
        self.watch = DeviceWatch(target, table, self._recorder.session)

    def run(self, missing: dict[str, Unit], progress: Progress) -> None:
        """Measure the missing units, batch by batch, and write their rows."""
        progress("compiling networks", 0.0)
        networks = {key: self._compile(a) for key, a in self._networks.items()}
        reference = self._compile_graph(reference_graph())
        empty = self._compile_graph(_empty_graph())
        batches = list(self._batches(missing))
        limit = self._protocol.limit_s / max(1, len(batches))
        for number, batch in enumerate(batches):
            self._generation = number
            progress(f"compiling blocks, batch {number + 1} of {len(batches)}", 0.0)
            pool = self._compile_pool(batch)
            wanted = {key for key in missing if key in pool} | set(networks)
            begin = time.monotonic()
            reviewed = begin
            needy = self._needy(wanted)
            while needy and time.monotonic() - begin < limit:
                self._round(pool, needy, batch, networks, reference, empty)
                now = time.monotonic()
                if now - reviewed > _REVIEW_S:
                    needy = self._needy(wanted)
                    self.watch.note()
                    reviewed = time.monotonic()
                    share = max(1.0 - len(needy) / len(wanted), (now - begin) / limit)
                    text = f"{len(wanted) - len(needy)} of {len(wanted)} settled"
                    progress(f"measuring, batch {number + 1} of {len(batches)}: {text}", share)
            self._recorder.flush()
            self._write(pool, {key for key in missing if key in pool}, networks, progress)

    def _round(
        self,
        pool: _Pool,
        needy: set[str],
        batch: Sequence[Architecture],
        networks: dict[str, Executable],
        reference: Executable,
        empty: Executable,
    ) -> None:
        """One chain with the reference and the empty kernel, and one whole network."""
        keys = self._chain(pool, needy, batch)
        instances = [int(self._rng.integers(len(pool[key]))) for key in keys]
        chain = [pool[key][i] for key, i in zip(keys, instances, strict=True)]
        items = [f"{key}#{self._generation}.{i}" for key, i in zip(keys, instances, strict=True)]
        previous: BlockExecutable | None = None
        for member in chain:
            member.follow(previous)
            previous = member
        # The reference is timed by itself, here as in `measure_networks`: the two must compare.
        self._recorder.add([reference_key()], self._sample([reference]))
        self._recorder.add([*items, EMPTY_KEY], self._sample([*chain, empty]))
        waiting = [key for key in networks if key in needy] or list(networks)
        key = waiting[int(self._rng.integers(len(waiting)))]
        self._recorder.add([key], self._sample([networks[key]]))

    def _sample(self, chain: Sequence[Executable]) -> np.ndarray:
        protocol = self._protocol
        return self._backend.sample(
            chain, self._target, warmup=protocol.warmup, passes=protocol.passes
        )

    def _chain(self, pool: _Pool, needy: set[str], batch: Sequence[Architecture]) -> list[str]:
        """Keys of a random recombination of the batch's networks that holds many needy units."""
        rows = np.array([a.indices for a in batch], dtype=np.uint8)
        parents = rows[self._rng.integers(len(rows), size=(2, _CANDIDATES))]
        mixed = np.where(self._rng.random(parents[0].shape) < 0.5, parents[0], parents[1])
        chains = [self._keys_of(row) for row in self._space.canonicalise(mixed)]
        pooled = [[key for key in chain if key in pool] for chain in chains]
        return max(pooled, key=lambda chain: sum(key in needy for key in chain))

    def _keys_of(self, row: np.ndarray) -> list[str]:
        keys = []
        for block in range(len(self._space.blocks)):
            choice = tuple(int(row[c]) for c in self._space.columns_of(block))
            fragment = self._space.fragment(block, choice)
            if not fragment.is_empty:
                keys.append(fragment.key)
        return keys

    def _needy(self, wanted: set[str]) -> set[str]:
        """Keys that are not yet known surely enough."""
        found = self._recorder.estimates()
        settled = {
            key
            for key, estimate in found.items()
            if estimate.repeats >= self._protocol.minimum_repeats
            and estimate.relative_interval <= self._protocol.interval
        }
        return wanted - settled

    def _batches(self, missing: dict[str, Unit]) -> Iterator[list[Architecture]]:
        """Carrier networks in groups whose blocks fit into the pool."""
        group: list[Architecture] = []
        keys: set[str] = set()
        for architecture in carriers(self._space, missing or self._units, self._rng):
            own = set(self._keys_of(np.array(architecture.indices)))
            if group and len(keys | own) > self._protocol.pool:
                yield group
                group, keys = [], set()
            group.append(architecture)
            keys |= own
        yield group

    def _compile_pool(self, batch: list[Architecture]) -> _Pool:
        """Compile every block of the batch several times.

        Where its buffers happen to lie changes the time of a compiled block by a few percent;
        networks in use are compiled anew each, so the mean over some instances is what counts.
        In a space with branches the instances come from different networks: what a block does
        itself depends on what others read there. A block that was fused with a neighbour is
        looked for in further networks.
        """
        pool: _Pool = {}
        wanted = {key for a in batch for key in self._keys_of(a.row())}
        units = {key: unit for key, unit in self._units.items() if key in wanted}
        for turn in range(self._protocol.instances):
            members = batch
            if turn and has_branches(self._space):
                members = carriers(self._space, self._shuffled(units), self._rng)
            for architecture in members:
                self._compile_into(pool, architecture, wanted)
        for _ in range(_MORE_CARRIERS):
            lost = {key: unit for key, unit in units.items() if key not in pool}
            if not lost:
                break
            for architecture in carriers(self._space, lost, self._rng):
                self._compile_into(pool, architecture, set(lost))
        return pool

    def _shuffled(self, units: dict[str, Unit]) -> dict[str, Unit]:
        """Units in another order, by which carriers put them together in another way."""
        keys = list(units)
        return {keys[i]: units[keys[i]] for i in self._rng.permutation(len(keys))}

    def _compile_into(self, pool: _Pool, architecture: Architecture, keys: set[str]) -> None:
        """Cut those of the given blocks out of a network that the pool has too few of."""
        wanted = {}
        for block, declared in enumerate(self._space.blocks):
            choice = tuple(architecture.indices[c] for c in self._space.columns_of(block))
            key = self._space.fragment(block, choice).key
            if key in keys and len(pool.get(key, [])) < self._protocol.instances:
                wanted[declared.name] = key
        graph = self._space.network(architecture)
        weights = random_weights(graph, self._rng)
        pieces = self._backend.compile_blocks(graph, weights, wanted, self._target)
        for name, piece in pieces.items():
            pool.setdefault(wanted[name], []).append(piece)

    def _compile(self, architecture: Architecture) -> Executable:
        return self._compile_graph(self._space.network(architecture))

    def _compile_graph(self, graph: Graph) -> Executable:
        weights = random_weights(graph, self._rng)
        return self._backend.compile(graph, weights, self._target)

    def _network_key(self, architecture: Architecture) -> str:
        return kernel_key(self._space.network(architecture), context="network")

    def _write(
        self,
        pool: _Pool,
        measured: set[str],
        networks: dict[str, Executable],
        progress: Progress,
    ) -> None:
        """Turn samples into rows: blocks without the cost of a dispatch, networks as they are."""
        found = self._recorder.estimates()
        dispatch = found[EMPTY_KEY].value
        taken = timestamp()
        graphs = {key: self._units[key].fragment.graph for key in measured}
        graphs |= {key: self._space.network(a) for key, a in self._networks.items()}
        rows, kernels = [], []
        for key, graph in graphs.items():
            if key not in found:
                raise MeasurementError(
                    f"no time was left to measure all of {self._space.name}: raise --limit"
                )
            estimate = found[key] if key in networks else found[key].less(dispatch)
            rows.append(cost_row(key, self._source, "latency_s", estimate, "measured", taken))
            kernels.append(describe_kernel(key, graph))
        reference = found[reference_key()]
        rows.append(
            cost_row(reference_key(), self._source, "latency_s", reference, "measured", taken)
        )
        kernels.append(describe_kernel(reference_key(), reference_graph()))
        blocks = {key: pool[key][0] for key in measured}
        rows += self._energy.rows(graphs, blocks, networks, progress)
        rows += self._launch_rows(networks, taken)
        kernels.append(describe_kernel(EMPTY_KEY, _empty_graph()))
        self._table.put(rows, kernels)
        self._table.put_networks(
            self._space.name, {a.indices: key for key, a in self._networks.items()}
        )
        log.info("%s: %d rows from %s", self._space.name, len(rows), self._source.runtime)

    def _launch_rows(self, networks: dict[str, Executable], taken: str) -> list[Cost]:
        """What the host adds to a run of a network, on devices whose latency is their own."""
        if not isinstance(self._backend, LaunchBackend) or not networks:
            return []
        middle = list(networks.values())[len(networks) // 2]
        estimate = estimate_median(self._backend.launch_s(middle))
        return [cost_row(EMPTY_KEY, self._source, "launch_s", estimate, "measured", taken)]
