"""Measured costs of kernels from any model that runs. Runs in a user's TVM.

    with CostRecorder(table, target) as recorder:
        recorder.attach(vm, module)
        ...  # run the model as usual

The virtual machine calls back before and after each kernel; what the callback itself takes is
measured on kernels that do next to nothing, by their number of arguments, and taken off.
"""

from hwnas.compilers import tvm_required  # noqa: F401

# isort: split
import logging
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import tvm
from tvm import relax
from tvm.runtime.vm import VMInstrumentReturnKind

from hwnas.compilers.tvm_annotation import describe_kernels, untuned_functions
from hwnas.costs import CostTable, Source
from hwnas.errors import MeasurementError
from hwnas.graph import Kernel
from hwnas.profiling import Estimate, estimate_median
from hwnas.profiling.cost_rows import cost_row, timestamp
from hwnas.targets import Target
from hwnas.tvm_worker import tvm_runtime
from hwnas.tvm_worker.timing import KernelWatch, empty_calls_s

__all__ = ["CostRecorder"]

log = logging.getLogger(__name__)

_WARMUP = 1  # the first call of a kernel finds its code and memory cold


@dataclass(frozen=True)
class _Watched:
    """A machine, its watch, its kernels by name, and names of the tuned ones."""

    vm: relax.VirtualMachine
    watch: KernelWatch
    kernels: dict[str, Kernel]
    tuned: frozenset[str]


class CostRecorder:
    """Fills a cost table with provenance `measured`; a context manager.

    Only tuned kernels get a row: naive code says nothing about what a kernel costs on a target.
    Samples of all machines that are watched count, equal kernels together.

    Args:
        table: Written to by `write`, and at the end unless the block raised.
        target: This machine.
        minimum_repeats: Calls of a kernel below which it gets no row.

    Raises:
        MeasurementError: The target is another machine, or fewer than 2 repeats are asked for.
    """

    def __init__(self, table: CostTable, target: Target, minimum_repeats: int = 20) -> None:
        if not target.local:
            raise MeasurementError(
                f"target {target.name!r} is not this machine: what runs here says nothing about it"
            )
        if minimum_repeats < 2:
            raise MeasurementError(
                f"{minimum_repeats} repeats give no interval: ask for 2 or more"
            )
        self._table = table
        self._target = target
        self._minimum = minimum_repeats
        self._watched: list[_Watched] = []
        self._calls: dict[str, int] = defaultdict(int)
        self._samples: dict[str, list[float]] = defaultdict(list)
        self._own_s: dict[str, float] = {}
        self._kernels: dict[str, Kernel] = {}
        self._untuned: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.write()
        for watched in self._watched:
            # TVM cannot take a callback away, only replace it.
            watched.vm.set_instrument(lambda *_: int(VMInstrumentReturnKind.NO_OP))
        self._watched.clear()

    def attach(self, vm: relax.VirtualMachine, module: tvm.IRModule) -> None:
        """Watch a virtual machine.

        Args:
            vm: The machine.
            module: What it was compiled from, with PrimFuncs; of the pipeline `hwnas`, or
                annotated, if any of its functions shall get a row.

        Raises:
            MeasurementError: The module has no kernels.
        """
        kernels = describe_kernels(module)
        if not kernels:
            raise MeasurementError(
                "the module has no kernels: attach the one that `relax.get_pipeline('hwnas', "
                "build=False)` gives, fused and annotated"
            )
        tuned = set(kernels) - set(untuned_functions(module))
        self._kernels |= {kernel.key: kernel for kernel in kernels.values()}
        self._watched.append(_Watched(vm, KernelWatch(vm), kernels, frozenset(tuned)))

    def estimates(self) -> dict[str, Estimate]:
        """Latency in s of every kernel seen at least twice after its first call, by key.

        Tuned and untuned ones; the callback's own time is taken off. A kernel shorter than what
        it varies by comes out as a thousandth of what was seen.
        """
        self._collect()
        return {
            key: estimate_median(np.array(samples)).less(self._own_s[key])
            for key, samples in sorted(self._samples.items())
            if len(samples) > 1
        }

    def write(self) -> int:
        """Write rows of all tuned kernels that have enough repeats.

        Returns:
            Number of rows written.
        """
        estimates = self.estimates()
        enough = {k: e for k, e in estimates.items() if e.repeats >= self._minimum}
        written = [key for key in enough if key not in self._untuned]
        if len(written) < len(self._samples):
            log.warning(
                "%d of %d kernels get no row: %d have fewer than %d repeats, %d are not tuned",
                len(self._samples) - len(written),
                len(self._samples),
                len(self._samples) - len(enough),
                self._minimum,
                len(self._untuned),
            )
        taken = timestamp()
        target = self._target
        source = Source(target.fingerprint, tvm_runtime())
        self._table.put_target(target.fingerprint, target.name, target.description)
        self._table.put(
            [
                cost_row(key, source, "latency_s", enough[key], "measured", taken)
                for key in written
            ],
            [self._kernels[key] for key in written],
        )
        log.info("wrote %d measured kernels to %s", len(written), self._table.path.name)
        return len(written)

    def _collect(self) -> None:
        """Take over what the watches have seen."""
        empty = empty_calls_s()
        clock = 0 if self._target.runtime.threads == 1 else 1  # thread CPU time, wall time
        for watched in self._watched:
            for name, arguments, *times_ns in watched.watch.take():
                kernel = watched.kernels.get(name)
                if kernel is None:
                    continue
                self._calls[kernel.key] += 1
                if name not in watched.tuned:
                    self._untuned.add(kernel.key)
                if self._calls[kernel.key] > _WARMUP:
                    self._own_s[kernel.key] = empty[min(arguments, max(empty))][clock]
                    self._samples[kernel.key].append(1e-9 * times_ns[clock])
