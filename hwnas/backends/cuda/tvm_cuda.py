"""TVM on a GPU: kernels of its default schedules, or tuned ones, timed by the device's own clock.

By default every kernel gets the first schedule that fits (`tvm_worker.gpu_schedules`), so none is
ever without one. Tuned, it gets the one that was the fastest on the device. Networks are compiled
for a batch, in the target's precision.
"""

import logging
from collections.abc import Collection

from hwnas.backends.backend import Availability, TuningBudget, TuningReport
from hwnas.backends.cuda.availability import gpu_here
from hwnas.backends.tvm_kernels import has_precision, usable_tvm
from hwnas.backends.tvm_local import TvmLocal
from hwnas.errors import HwnasError
from hwnas.progress import Progress, silent
from hwnas.targets import Target
from hwnas.tvm_worker import find_tvm, tvm_runtime
from hwnas.tvm_worker.messages import FindGpu, FoundGpu

__all__ = ["DefaultTvmCudaBackend", "TvmCudaBackend"]

log = logging.getLogger(__name__)

_TOOLKIT = "install CUDA 13 with its lib64 in LD_LIBRARY_PATH and nvcc in PATH"


class TvmCudaBackend(TvmLocal):
    """Backend of GPU targets whose runtime is `tvm-tuned`."""

    name = "cuda"

    def is_available(self, target: Target) -> Availability:
        """Whether the target's GPU is here, and TVM can compile for it and run on it."""
        if not has_precision(target):
            return Availability(
                False,
                f"TVM makes no code for {target.runtime.precision}: its schedules of float32 do "
                "not use tensor cores",
                "--runtime torch, or --dtype fp32",
            )
        missing = usable_tvm(target) or gpu_here(target)
        if missing is not None:
            return missing
        try:
            found = self._worker(target).request(FindGpu(), FoundGpu)
        except HwnasError as error:
            return Availability(False, str(error), "see hwnas doctor")
        if not found.architecture:
            return Availability(False, f"{find_tvm().found} does not see the GPU", _TOOLKIT)
        if not found.compiler:
            return Availability(False, "no compiler of CUDA, nvcc or NVRTC, is here", _TOOLKIT)
        return Availability(True, f"{find_tvm().found}, {found.architecture}, {found.compiler}")

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """Name and version of TVM, and that its kernels are tuned."""
        return f"{tvm_runtime()} tuned"


class DefaultTvmCudaBackend(TvmCudaBackend):
    """Backend of GPU targets whose runtime is `tvm`: nothing is tuned."""

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """Name and version of TVM, and whose schedules its kernels have."""
        return f"{tvm_runtime()} dlight"

    def tune(
        self,
        keys: Collection[str],  # noqa: ARG002 (the contract gives it)
        target: Target,  # noqa: ARG002
        budget: TuningBudget,
        *,
        seed: int,  # noqa: ARG002
        progress: Progress = silent,  # noqa: ARG002
    ) -> TuningReport:
        """Nothing: default schedules are what is measured."""
        if budget != TuningBudget():
            log.warning("default schedules are kept: --tune-budget is for --runtime tvm-tuned")
        return TuningReport(tuned=0, reused=0, trials=0, seconds=0.0, left=())

    def _database(self) -> None:
        return None
