"""The contract between hwnas and one kind of hardware.

A backend says whether it works here, what it runs on, and how a graph becomes something that can
be timed. It does not decide how often or in which order to time: that is the measuring protocol of
`hwnas.profiling`, the same for every kind. Backends of hardware that is not here (a formula, a
simulator) implement `ModellingBackend` instead and give costs directly.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hwnas.graph import Graph, Kernel
from hwnas.lowering import Weights
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = [
    "Availability",
    "Backend",
    "BlockBackend",
    "BlockExecutable",
    "Executable",
    "KernelBackend",
    "KernelBench",
    "LaunchBackend",
    "LoweredGraphs",
    "MeasuringBackend",
    "ModelBackend",
    "ModellingBackend",
    "RepeatingBench",
    "TuningBudget",
    "TuningReport",
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
    """Hardware that can be timed, here or at the other end of a wire."""

    def compile(self, graph: Graph, weights: Weights, target: Target) -> Executable:
        """Compile a whole network; inputs are bound to random values.

        Raises:
            LoweringError: The runtime refuses the graph.
        """

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """One sample of each executable, run in order, `(members, 2)` in s.

        The first column is by the clock that counts on this target: thread CPU time where one
        thread does the work, because it does not count the time in which other processes had the
        core; wall time otherwise. The second is wall time. A sample is the median of the passes.

        Args:
            chain: Executables of this backend.
            target: The device.
            warmup: Untimed passes before.
            passes: Timed passes.
        """


@runtime_checkable
class ModelBackend(Protocol):
    """A backend that also takes finished model files.

    Args:
        model_suffix: How the names of such files end, such as `.onnx`.
    """

    model_suffix: str

    def compile_model(
        self, model: Path, target: Target, *, progress: Progress = silent
    ) -> Executable:
        """Compile a model file, which is hostile; a free batch size is set to 1.

        Args:
            model: The file.
            target: The device.
            progress: Called where compiling takes long, because kernels are tuned.

        Raises:
            LoweringError: The runtime refuses the model, or an input has no fixed shape.
        """


@runtime_checkable
class LaunchBackend(MeasuringBackend, Protocol):
    """Hardware with a clock of its own, whose latencies leave out what the host adds."""

    def launch_s(self, executable: Executable) -> npt.NDArray[np.float64]:
        """Samples `(n,)` in s of what one launch takes the host beside the work."""


@runtime_checkable
class BlockBackend(MeasuringBackend, Protocol):
    """A runtime whose compiled networks can be cut at the borders of blocks."""

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


@dataclass(frozen=True)
class LoweredGraphs:
    """Kernels of some graphs.

    Args:
        calls: Per graph the keys of its kernels in the order in which it calls them.
        kernels: What each key stands for.
    """

    calls: Mapping[str, tuple[str, ...]]
    kernels: Mapping[str, Kernel]


@dataclass(frozen=True)
class TuningBudget:
    """How much tuning may take; what is reached first ends it.

    Args:
        limit_s: Wall time; None is no limit.
        trials: Measured candidates; None is a number that suffices for most kernels, for each.
    """

    limit_s: float | None = None
    trials: int | None = None


@dataclass(frozen=True)
class TuningReport:
    """What tuning did.

    Args:
        tuned: Kernels that have a record now and had none.
        reused: Kernels that had one.
        trials: Candidates measured.
        seconds: Wall time.
        left: Keys that have none.
    """

    tuned: int
    reused: int
    trials: int
    seconds: float
    left: tuple[str, ...]


class KernelBench(Protocol):
    """Some networks and kernels, ready to be timed again and again."""

    def round(
        self, needy: Collection[str], *, warmup: int, passes: int
    ) -> Iterator[tuple[Sequence[str], npt.NDArray[np.float64]]]:
        """Samples `(n, 2)` as of `MeasuringBackend.sample`, with what each is of.

        Args:
            needy: Names of networks and keys of kernels that need samples most; a round may take
                samples of others too, and need not take one of each.
            warmup: Untimed passes.
            passes: Timed passes behind one sample.
        """

    def close(self) -> None:
        """Let go of what was compiled."""


@runtime_checkable
class RepeatingBench(KernelBench, Protocol):
    """A bench that can also run one of its items again and again, for its energy."""

    def executable(self, name: str) -> Executable:
        """A network, or a kernel alone.

        Args:
            name: Of a network, or key of a kernel that one of them holds.
        """


@runtime_checkable
class KernelBackend(MeasuringBackend, Protocol):
    """A compiler that fuses networks into kernels of its own, tunes them, and times each."""

    def with_tuning(self, folder: Path) -> "KernelBackend":
        """The same backend with tuning records in a folder, which is made when first written."""

    def lower(
        self,
        graphs: Mapping[str, tuple[Graph, Weights]],
        target: Target,
        *,
        pieces: bool = False,
        progress: Progress = silent,
    ) -> LoweredGraphs:
        """Kernels of graphs, by any name.

        Args:
            graphs: Networks, or pieces of networks.
            target: The device.
            pieces: Whether they are pieces: what a compiler only adds to bring inputs and results
                into the layout of its own then does not count.
            progress: Called with a line of text and the share done.

        Raises:
            LoweringError: The compiler does not take an operator.
        """

    def tune(
        self,
        keys: Collection[str],
        target: Target,
        budget: TuningBudget,
        *,
        seed: int,
        progress: Progress = silent,
    ) -> TuningReport:
        """Tune kernels that were lowered before; those with a record are left as they are."""

    def open_bench(
        self,
        networks: Mapping[str, tuple[Graph, Weights]],
        kernels: Collection[str],
        target: Target,
        rng: np.random.Generator,
        *,
        progress: Progress = silent,
    ) -> KernelBench:
        """Make tuned networks and kernels ready to be timed.

        Args:
            networks: To be timed as a whole, by name; together they hold all of the kernels.
            kernels: Keys to be timed one by one.
            target: The device.
            rng: Draws the order.
            progress: Called while networks are compiled.

        Raises:
            MeasurementError: A kernel has no tuning record.
        """


@runtime_checkable
class ModellingBackend(Backend, Protocol):
    """Hardware that is computed, not run."""

    provenance: str  # "modelled" or "simulated"

    def kernel_costs(self, graph: Graph, target: Target) -> Mapping[str, float]:
        """Cost of one kernel by metric name, in SI units."""
