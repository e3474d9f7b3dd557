"""TVM on this machine's processor: tuned kernels, timed inside the networks that call them."""

from hwnas.backends.backend import Availability
from hwnas.backends.tvm_kernels import usable_tvm
from hwnas.backends.tvm_local import TvmLocal
from hwnas.targets import Target
from hwnas.tvm_worker import find_tvm

__all__ = ["TvmCpuBackend"]


class TvmCpuBackend(TvmLocal):
    """Backend of the target `tvm-cpu`."""

    name = "tvm-cpu"

    def is_available(self, target: Target) -> Availability:
        """Whether a TVM that works is installed."""
        unusable = usable_tvm(target)
        return unusable or Availability(True, find_tvm().found)
