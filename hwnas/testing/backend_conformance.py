"""What every backend must do, as tests that a plug-in's author inherits.

In a test file of yours, with `pytest` collecting the inherited tests::

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        def target(self):
            return get_target("my-device")

The target names the backend. Tests of the two kinds, measuring and modelling, apply where they
fit; a backend whose hardware is not here is only asked to say so.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hwnas.backends import (
    Availability,
    Backend,
    BlockBackend,
    KernelBackend,
    ModellingBackend,
    TuningBudget,
    get_backend,
)
from hwnas.graph import Graph, GraphBuilder
from hwnas.lowering import random_weights
from hwnas.quantities import METRIC_DIMENSIONS
from hwnas.spaces import SearchSpace, get_space
from hwnas.targets import Target
from hwnas.testing.space_conformance import fragments_of

__all__ = ["BackendConformance"]


class BackendConformance:
    """The tests; a subclass brings the fixture `target`."""

    def test_the_target_finds_its_backend(self, target: Target) -> None:
        """By the name in the device's file."""
        backend = get_backend(target)

        assert isinstance(backend, Backend)
        assert backend.name == target.backend
        assert isinstance(backend, BlockBackend | KernelBackend | ModellingBackend)

    def test_what_does_not_work_has_a_reason_and_a_remedy(self, target: Target) -> None:
        """Asking never raises, however odd the target."""
        backend = get_backend(target)
        odd = [
            target,
            target.with_threads(1024),
            msgspec.structs.replace(target, peak=None, name="odd"),
        ]

        for found in map(backend.is_available, odd):
            assert isinstance(found, Availability)
            assert found.reason
            assert found.works or found.remedy

    def test_the_runtime_is_one_line(self, target: Target) -> None:
        """It stands in every row of the cost table, and does not change within a process."""
        runtime = get_backend(target).runtime(target)

        assert runtime
        assert runtime == runtime.strip()
        assert "\n" not in runtime
        assert get_backend(target).runtime(target) == runtime

    def test_modelled_costs_are_positive_and_repeat(self, target: Target) -> None:
        """Latency at least; every metric in SI units, by a name that hwnas knows."""
        backend, space = _modelling(target), get_space("mbconv-digits")
        for fragment in _kernels(space):
            costs = backend.kernel_costs(fragment, target)

            assert "latency_s" in costs
            assert set(costs) <= set(METRIC_DIMENSIONS)
            assert all(math.isfinite(value) and value > 0 for value in costs.values())
            assert dict(backend.kernel_costs(fragment, target)) == dict(costs)

    def test_more_of_the_same_never_costs_less(self, target: Target) -> None:
        """A wider convolution, all else equal."""
        backend = _modelling(target)
        costs = []
        for channels in (8, 16, 64):
            g = GraphBuilder("conv")
            g.output(g.conv(g.input("x", (1, 8, 16, 16)), channels, 3, name="conv"), "output")
            costs.append(backend.kernel_costs(g.build(), target))

        for metric in costs[0]:
            values = [cost[metric] for cost in costs]
            assert values == sorted(values)

    def test_a_modelled_number_says_so(self, target: Target) -> None:
        """Only a measuring backend gives measured numbers."""
        assert _modelling(target).provenance in {"modelled", "simulated"}

    def test_a_compiled_network_runs_again_and_again(self, target: Target) -> None:
        """Inputs are bound when it is compiled."""
        backend, space = _blocks(target), get_space("mbconv-digits")
        graph = space.network(space.smallest())
        executable = backend.compile(graph, _weights(space), target)

        for _ in range(3):
            executable.run()

    def test_a_sample_has_two_positive_times_of_each_member(self, target: Target) -> None:
        """A network and the network again."""
        backend, space = _blocks(target), get_space("mbconv-digits")
        graph = space.network(space.smallest())
        executable = backend.compile(graph, _weights(space), target)

        sample = backend.sample([executable, executable], target, warmup=1, passes=2)

        assert sample.shape == (2, 2)
        assert (sample > 0).all()
        assert backend.sample([], target, warmup=1, passes=2).shape == (0, 2)

    def test_blocks_run_alone_in_a_chain_and_alone_again(self, target: Target) -> None:
        """Only wanted blocks are cut out; a chain of the rest of a network runs in order."""
        backend, space = _blocks(target), get_space("mbconv-digits")
        graph = space.network(space.smallest())
        wanted = [block.name for block in space.blocks]
        blocks = backend.compile_blocks(graph, _weights(space), wanted, target)
        chain = [blocks[name] for name in wanted if name in blocks]

        for member in chain:
            member.run()
        previous = None
        for member in chain:
            member.follow(previous)
            member.run()
            previous = member
        for member in chain:
            member.follow(None)
            member.run()

        assert chain
        assert set(blocks) <= set(wanted)
        assert not backend.compile_blocks(graph, _weights(space), [], target)
        assert not backend.compile_blocks(graph, _weights(space), ["no such block"], target)

    def test_equal_work_is_one_kernel_wherever_it_stands(self, target: Target) -> None:
        """A network's kernels are those of its blocks, apart from changes of layout."""
        backend, space = _kernels_of(target), get_space("mbconv-digits")
        rng = np.random.default_rng(0)
        network = space.network(space.smallest())
        pieces = {
            str(i): (fragment.graph, random_weights(fragment.graph, rng))
            for i, fragment in enumerate(fragments_of(space, space.smallest()))
            if not fragment.is_empty
        }

        whole = backend.lower({"network": (network, _weights(space))}, target)
        parts = backend.lower(pieces, target, pieces=True)

        calls = [key for name in pieces for key in parts.calls[name]]
        assert calls
        assert set(calls) <= set(whole.calls["network"])
        assert len(calls) <= len(whole.calls["network"])
        assert all(len(key) == 32 for key in parts.kernels)
        assert sum(parts.kernels[key].macs for key in calls) > 0

    def test_tuned_kernels_and_networks_are_sampled(self, target: Target, tmp_path: Path) -> None:
        """Records are found again, and what has none is not timed."""
        backend = _kernels_of(target).with_tuning(tmp_path / "records")
        models = {"network": (_small_graph(), random_weights(_small_graph(), _rng()))}
        lowered = backend.lower(models, target)
        keys = set(lowered.calls["network"])

        report = backend.tune(keys, target, TuningBudget(trials=2 * len(keys)), seed=0)
        again = backend.tune(keys, target, TuningBudget(trials=2 * len(keys)), seed=0)
        bench = backend.open_bench(models, keys, target, _rng())
        found: dict[str, int] = {}
        for _ in range(4):
            for names, seconds in bench.round({"network"}, warmup=1, passes=1):
                assert seconds.shape == (len(names), 2)
                assert (seconds > 0).all()
                found |= dict.fromkeys(names, 1)
        bench.close()

        assert not report.left
        assert (again.tuned, again.trials) == (0, 0)
        assert set(found) == keys | {"network"}


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _small_graph() -> Graph:
    g = GraphBuilder("small")
    x = g.input("x", (1, 16, 8, 8))
    with g.scope("body"):
        y = g.relu(g.conv(x, 32, 1, name="expand", bias=True))
        y = g.conv(y, 16, 3, name="project", bias=True)
    g.output(g.add(x, y), "output")
    return g.build()


def _weights(space: SearchSpace) -> dict[str, np.ndarray]:
    return random_weights(space.network(space.smallest()), np.random.default_rng(0))


def _kernels(space: SearchSpace) -> Iterator[Graph]:
    for architecture in (space.smallest(), space.largest()):
        for fragment in fragments_of(space, architecture):
            if not fragment.is_empty:
                yield fragment.graph


def _modelling(target: Target) -> ModellingBackend:
    backend = get_backend(target)
    if not isinstance(backend, ModellingBackend):
        pytest.skip(f"backend {backend.name!r} measures what runs")
    _skip_if_missing(backend, target)
    return backend


def _blocks(target: Target) -> BlockBackend:
    backend = get_backend(target)
    if not isinstance(backend, BlockBackend):
        pytest.skip(f"backend {backend.name!r} cuts no networks into blocks")
    _skip_if_missing(backend, target)
    return backend


def _kernels_of(target: Target) -> KernelBackend:
    backend = get_backend(target)
    if not isinstance(backend, KernelBackend):
        pytest.skip(f"backend {backend.name!r} makes no kernels of its own")
    _skip_if_missing(backend, target)
    return backend


def _skip_if_missing(backend: Backend, target: Target) -> None:
    found = backend.is_available(target)
    if not found.works:
        pytest.skip(f"{target.name}: {found.reason}; {found.remedy}")
