"""LiteRT on this machine's processor: the file that goes onto a phone, run here by XNNPACK."""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.backends.backend import Availability, Executable
from hwnas.backends.litert_check import checked_model
from hwnas.backends.litert_executable import PACKAGE, LitertExecutable, delegates_to_xnnpack
from hwnas.backends.stopwatch import clock_of, time_chain
from hwnas.errors import LoweringError, PluginError
from hwnas.graph import Graph
from hwnas.lowering import Weights
from hwnas.lowering.tflite_model import REMEDY, blocks_to_tflite, to_tflite
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = ["LitertCpuBackend"]

log = logging.getLogger(__name__)


class LitertCpuBackend:
    """Backend of the target `litert-cpu`."""

    name = "litert"
    model_suffix = ".tflite"

    def is_available(self, target: Target) -> Availability:
        """Whether LiteRT is there, runs what hwnas writes, and delegates it to XNNPACK."""
        try:
            version(PACKAGE)
            delegates = delegates_to_xnnpack()
        except (PackageNotFoundError, PluginError):
            return Availability(False, f"{PACKAGE} is not installed", REMEDY)
        except LoweringError as error:
            return Availability(False, str(error), f"install another version of {PACKAGE}")
        if not delegates:
            return Availability(
                False,
                f"{self.runtime(target)} does not delegate to XNNPACK",
                f"install a build of {PACKAGE} that has it",
            )
        cores = _cores()
        if target.runtime.threads > cores:
            return Availability(
                False,
                f"{target.runtime.threads} threads asked for, {cores} cores here",
                "ask for at most as many threads as there are cores",
            )
        return Availability(True, f"{self.runtime(target)}, {cores} cores")

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """Name and version of LiteRT, and of the delegate, which is part of it."""
        try:
            return f"litert {version(PACKAGE)} xnnpack"
        except PackageNotFoundError:
            return "litert (not installed)"

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """Thread CPU time for one thread, wall time for more; and wall time."""
        return time_chain(chain, clock_of(target), warmup=warmup, passes=passes)

    def compile(self, graph: Graph, weights: Weights, target: Target) -> LitertExecutable:
        """The file that an export writes, loaded; inputs are standard normal noise."""
        return self.compile_model(to_tflite(graph, weights), target)

    def compile_model(
        self,
        model: bytes | Path,
        target: Target,
        *,
        progress: Progress = silent,  # noqa: ARG002 (the contract gives it)
    ) -> LitertExecutable:
        """The same for the content of a file that hwnas wrote, or for a file of anybody's.

        Raises:
            LoweringError: LiteRT refuses the model, or a process that tried the file came to harm.
        """
        threads = target.runtime.threads
        content = checked_model(model, threads) if isinstance(model, Path) else model
        executable = LitertExecutable(content, threads)
        left = executable.undelegated()
        if left:
            log.debug("not delegated to XNNPACK: %s", ", ".join(sorted(set(left))))
        return executable

    def compile_blocks(
        self, graph: Graph, weights: Weights, blocks: Collection[str], target: Target
    ) -> Mapping[str, LitertExecutable]:
        """Cut the operators of the network's file at the borders of its blocks.

        All tensors are channels last in the file and in XNNPACK, so that a piece runs the same
        kernels as in the network. What it does not share is memory: inputs are the piece's own.
        """
        network = object()
        threads = target.runtime.threads
        found = blocks_to_tflite(graph, weights, blocks)
        return {
            block: LitertExecutable(content, threads, network=network)
            for block, content in found.items()
        }


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
