"""TVM in a process of its own: lowered, tuned, built and timed there, asked for from here.

TVM's failures can be crashes of the whole process, so nothing outside this package imports it. The
parent side is `installation`, `messages` and `process`; everything else runs in the child.
"""

from hwnas.tvm_worker.installation import Installation, find_tvm, tvm_runtime
from hwnas.tvm_worker.process import TvmWorker, shared_worker

__all__ = ["Installation", "TvmWorker", "find_tvm", "shared_worker", "tvm_runtime"]
