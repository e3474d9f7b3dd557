"""The contract between hwnas and one kind of hardware.

A backend says whether it works here, what it runs on, and how a graph becomes something that can
be timed. It does not decide how often or in which order to time: that is the measuring protocol of
`hwnas.profiling`, the same for every kind. Backends of hardware that is not here (a formula, a
simulator) implement `ModellingBackend` instead and give costs directly.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hwnas.graph import Graph
from hwnas.lowering import Weights
from hwnas.targets import Target

__all__ = [
    "Availability",
    "Backend",
    "BlockExecutable",
    "Executable",
    "MeasuringBackend",
    "ModellingBackend",
]


@dataclass(frozen=True)
class Availability:
    """Whether a backend works for a target on this machine.

    Args:
        works: Whether it does.
        reason: What was found.
        remedy: What to do if it does not; empty otherwise.
    """

    works: bool
    reason: str
    remedy: str = ""


class Executable(Protocol):
    """A compiled network with its inputs and outputs bound to buffers."""

    def run(self) -> None:
        """Run once, and return when the results are there."""


class BlockExecutable(Executable, Protocol):
    """One block of a network, compiled as it runs inside that network."""

    def follow(self, previous: "BlockExecutable | None") -> None:
        """Read each input from a buffer that `previous` writes, if the two fit.

        In a network with branches the buffers of the blocks that `previous` itself followed count
        too. None restores the block's own example inputs.
        """


@runtime_checkable
class Backend(Protocol):
    """What all kinds of hardware have in common."""

    name: str

    def is_available(self, target: Target) -> Availability:
        """Whether this backend works for the target here; cheap, never raises."""

    def runtime(self, target: Target) -> str:
        """Name and version of what executes, such as `onnxruntime 1.31.1`."""


@runtime_checkable
class MeasuringBackend(Backend, Protocol):
    """Hardware that is here and can be timed."""

    def clock_ns(self, target: Target) -> int:
        """The clock of a latency on this target, in ns.

        Thread CPU time where one thread does the work, because it does not count the time in which
        other processes had the core; wall time otherwise.
        """

    def compile(self, graph: Graph, weights: Weights, target: Target) -> Executable:
        """Compile a whole network; inputs are bound to random values.

        Raises:
            LoweringError: The runtime refuses the graph.
        """

    def compile_blocks(
        self, graph: Graph, weights: Weights, blocks: Collection[str], target: Target
    ) -> Mapping[str, BlockExecutable]:
        """Compile a whole network and cut the compiled form at the borders of its blocks.

        Each piece then runs in the layouts and fusions that it has inside a network. A block that
        cannot be cut out (it has no operator of its own, or shares one with a neighbour) is left
        out of the result.

        Args:
            graph: The network; operators are named `block/...`.
            weights: A value for every weight.
            blocks: Names of the wanted blocks.
            target: The device.
        """


@runtime_checkable
class ModellingBackend(Backend, Protocol):
    """Hardware that is computed, not run."""

    provenance: str  # "modelled" or "simulated"

    def kernel_costs(self, graph: Graph, target: Target) -> Mapping[str, float]:
        """Cost of one kernel by metric name, in SI units."""
