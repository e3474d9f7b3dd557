"""A graph of torch's in TVM's process, tuned: run, and timed kernel by kernel."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hwnas.errors import LoweringError
from hwnas.graph import GraphCounts
from hwnas.lowering.onnx_kernels import OnnxKernel
from hwnas.targets import Target
from hwnas.tvm_worker import shared_worker
from hwnas.tvm_worker.messages import (
    Array,
    BuildNetworks,
    BuiltNetworks,
    CodeTarget,
    Lower,
    Lowered,
    Release,
    Results,
    Run,
    Time,
    Timed,
    TimeKernels,
    Tune,
    Tuned,
)

__all__ = ["WATCH_BIAS", "TvmGraph"]

WATCH_BIAS = (
    "kernels: between callbacks of TVM's virtual machine, less what they take for an empty "
    "kernel; on standard normal inputs"
)
_WARMUP = 3
_LAST_BATCH_S = 600.0  # what tuning may take beyond its time, for what was begun
_MODEL = "graph"


class TvmGraph:
    """One network in the TVM process, and its kernels.

    Every call copies inputs and outputs to the process and back.

    Args:
        model: With weights as initializers.
        target: Number of threads.
        database: Folder with tuning records for every kernel; naive code is never run.
        tune_s: Wall time in which kernels without a record are tuned first; 0 tunes none.

    Raises:
        PluginError: TVM is missing, or of versions that do not work.
        LoweringError: TVM does not import the model, kernels of it are not tuned, or an input is
            not float32.
        MeasurementError: TVM died.
    """

    def __init__(
        self, model: onnx.ModelProto, target: Target, database: Path, tune_s: float = 0.0
    ) -> None:
        odd = [
            value.name
            for value in model.graph.input
            if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT
        ]
        if odd:
            raise LoweringError(f"inputs {', '.join(odd)} are not float32; use onnxruntime")
        self._threads = target.runtime.threads
        self._worker = shared_worker(self._threads)
        content = model.SerializeToString()
        lowered = self._worker.request(Lower({_MODEL: content}), Lowered)
        code = CodeTarget(cores=self._threads)
        build = BuildNetworks({_MODEL: content}, code, str(database))
        found = self._worker.request(build, BuiltNetworks)
        if found.untuned and tune_s > 0.0:
            tune = Tune(found.untuned, code, str(database), limit_s=tune_s)
            self._worker.request(tune, Tuned, timeout_s=tune_s + _LAST_BATCH_S)
            found = self._worker.request(build, BuiltNetworks)
        if found.untuned:
            raise LoweringError(
                f"{len(found.untuned)} of {len(lowered.kernels)} kernels have no tuning record "
                f"in {database}: naive code is not run, give the option tune_s a few minutes"
            )
        built = found.networks[_MODEL]
        self._handle = built.handle
        self._inputs = [value.name for value in model.graph.input]
        records = [lowered.kernels[key] for key in built.kernels]
        self.kernels = tuple(
            OnnxKernel(
                str(number),
                record.signature,
                record.key,
                GraphCounts(record.macs, 0, record.activation_bytes, record.weight_bytes, 1),
            )
            for number, record in enumerate(records)
        )

    def run(self, inputs: Mapping[str, npt.NDArray[np.generic]]) -> list[npt.NDArray[np.generic]]:
        """Outputs in order, writable.

        Raises:
            MeasurementError: TVM died.
        """
        given = tuple(Array.of(inputs[name]) for name in self._inputs)
        results = self._worker.request(Run(self._handle, given), Results)
        return [output.numpy().copy() for output in results.outputs]

    def measure(
        self,
        inputs: Mapping[str, npt.NDArray[np.generic]],  # noqa: ARG002 (the other runtime's needs)
        repeats: int,
    ) -> tuple[dict[str, float], float]:
        """Median latency in s of each kernel by name, and of the whole; see `WATCH_BIAS`."""
        clock = 0 if self._threads == 1 else 1  # thread CPU time, wall time
        kernels = self._worker.request(TimeKernels(self._handle, _WARMUP, repeats), Timed)
        whole = self._worker.request(Time((self._handle,), _WARMUP, repeats), Timed)
        times = [seconds[clock] for seconds in kernels.seconds]
        names = [kernel.name for kernel in self.kernels]
        return dict(zip(names, times, strict=True)), whole.seconds[0][clock]

    def close(self) -> None:
        """Free it in the process."""
        self._worker.forget(Release((self._handle,)))
