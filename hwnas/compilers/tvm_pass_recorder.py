"""What a TVM compilation spends its time on, and which kernels it makes. Runs in a user's TVM."""

from hwnas.compilers import tvm_required  # noqa: F401

# isort: split
import time
from dataclasses import dataclass

import tvm

from hwnas.compilers.tvm_annotation import describe_kernels
from hwnas.graph import Kernel

__all__ = ["PassRecorder", "PassTime"]

_FUSED = "FuseTIR"


@dataclass(frozen=True)
class PassTime:
    """One pass.

    Args:
        name: As TVM knows it.
        runs: How often it ran.
        own_s: Wall time without the passes that ran inside it.
        total_s: Wall time with them.
    """

    name: str
    runs: int
    own_s: float
    total_s: float


@tvm.ir.instrument.pass_instrument
class PassRecorder:
    """Pass instrument: `with tvm.transform.PassContext(opt_level=3, instruments=[recorder])`.

    Kernels are those of the last module that left `FuseTIR`, or, if it did not run, of the module
    that compilation began with.
    """

    def __init__(self) -> None:
        self._stack: list[tuple[str, float, float]] = []  # name, begin, time of inner passes
        self._times: dict[str, tuple[int, float, float]] = {}
        self._begun: tvm.IRModule | None = None
        self._fused: tvm.IRModule | None = None
        self._kernels: tuple[Kernel, ...] = ()

    def run_before_pass(self, module: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        """TVM is about to run a pass."""
        if self._begun is None:
            self._begun = module
        self._stack.append((info.name, time.perf_counter(), 0.0))

    def run_after_pass(self, module: tvm.IRModule, info: tvm.transform.PassInfo) -> None:
        """TVM has run a pass."""
        if not self._stack or self._stack[-1][0] != info.name:
            return  # the pass began before this context
        name, begin, inner = self._stack.pop()
        total = time.perf_counter() - begin
        if self._stack:
            outer, outer_begin, outer_inner = self._stack[-1]
            self._stack[-1] = (outer, outer_begin, outer_inner + total)
        runs, own_s, total_s = self._times.get(name, (0, 0.0, 0.0))
        self._times[name] = (runs + 1, own_s + total - inner, total_s + total)
        if name == _FUSED:
            self._fused = module

    def exit_pass_ctx(self) -> None:
        """Compilation is over."""
        module = self._begun if self._fused is None else self._fused
        if module is not None:
            found = {k.key: k for k in describe_kernels(module).values()}
            self._kernels = tuple(kernel for _, kernel in sorted(found.items()))
        self._begun = self._fused = None
        self._stack.clear()

    def times(self) -> tuple[PassTime, ...]:
        """All passes so far, the one with the most time of its own first."""
        times = [PassTime(name, *numbers) for name, numbers in self._times.items()]
        return tuple(sorted(times, key=lambda each: (-each.own_s, each.name)))

    def kernels(self) -> tuple[Kernel, ...]:
        """Kernels of the last compilation, sorted by key; empty before it ends."""
        return self._kernels
