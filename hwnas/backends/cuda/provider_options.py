"""What ONNX Runtime's two providers for NVIDIA GPUs are told.

Names and values as in ONNX Runtime's documentation, "CUDA Execution Provider" and "TensorRT
Execution Provider". Three things are not as one would expect:

- The two round float32 to tf32 unless told not to, and TensorRT can only be told by the
  environment variable `NVIDIA_TF32_OVERRIDE=0`, which then holds for the whole process
  (onnxruntime issues 6427, 26029).
- TensorRT's cache of engines finds them by names of values and forgets their shapes and weights
  (issue 32254): every model gets a folder of its own here, and only model files are cached. What
  all engines share is the cache of timings, which makes building them quick.
- bfloat16: the CUDA provider has convolutions in it from opset 22 on, but no ConvTranspose,
  BatchNormalization, Clip or MaxPool (docs/OperatorKernels.md); networks are written in opset 18.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import onnxruntime as ort
import platformdirs

from hwnas.backends.backend import Availability
from hwnas.backends.cuda.session_clock import SessionClock, find_session_clock
from hwnas.backends.onnxruntime_sessions import Provider, open_session
from hwnas.errors import LoweringError
from hwnas.graph import GraphBuilder
from hwnas.lowering import to_onnx
from hwnas.targets import Target
from hwnas.targets.machine import graphics_processor

__all__ = ["GpuSessions", "engine_folder", "precision_missing", "provider_missing", "provider_of"]

_CPU: Provider = ("CPUExecutionProvider", {})  # for what computes shapes
_NO_TF32 = "NVIDIA_TF32_OVERRIDE"


class GpuSessions:
    """Where sessions run, and on which providers: the GPU that this process computes on."""

    place = "cuda"

    def clock(self) -> SessionClock | None:
        """The device's own clock, where a torch that knows CUDA is installed."""
        return find_session_clock()

    def plain(self, target: Target) -> Sequence[Provider]:
        """The CUDA provider without CUDA graphs, for runs that are not timed."""
        _preload()
        return (("CUDAExecutionProvider", self._cuda(target)), _CPU)

    def chosen(
        self, target: Target, *, record: bool, engines: Path | None = None
    ) -> Sequence[Provider]:
        """The providers of the target's runtime.

        Args:
            target: The device.
            record: Whether runs are recorded as CUDA graphs.
            engines: Where TensorRT keeps the model's engines; None keeps none.
        """
        _preload()
        if not _is_tensorrt(target):
            graph = {"enable_cuda_graph": "1"} if record else {}
            return (("CUDAExecutionProvider", self._cuda(target) | graph), _CPU)
        options = {
            "device_id": "0",
            "trt_fp16_enable": _word(target.runtime.precision == "float16"),
            "trt_cuda_graph_enable": _word(record),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(_cache(target) / "timings"),
            "trt_engine_cache_enable": _word(engines is not None),
        }
        if engines is not None:
            options["trt_engine_cache_path"] = str(engines)
        return (
            ("TensorrtExecutionProvider", options | self._stream()),
            ("CUDAExecutionProvider", self._cuda(target)),
            _CPU,
        )

    def _cuda(self, target: Target) -> dict[str, str]:
        options = {
            "device_id": "0",  # the first that CUDA_VISIBLE_DEVICES shows
            "use_tf32": "1" if target.runtime.precision == "tf32" else "0",
            # Hundreds of sessions are alive at once: none is to hold twice what it needs.
            "arena_extend_strategy": "kSameAsRequested",
        }
        return options | self._stream()

    def _stream(self) -> dict[str, str]:
        clock = self.clock()
        return {} if clock is None else {"user_compute_stream": str(clock.stream_pointer)}


def provider_of(target: Target) -> str:
    """Name of the provider that is to run everything."""
    return "TensorrtExecutionProvider" if _is_tensorrt(target) else "CUDAExecutionProvider"


def precision_missing(target: Target) -> Availability | None:
    """None where the target's precision is what its runtime computes in, else why it is not."""
    precision = target.runtime.precision
    is_off = os.environ.get(_NO_TF32) == "0"
    if precision in ("bfloat16", "int8"):
        return Availability(
            False,
            f"ONNX Runtime has no kernels in {precision} for all operators of the networks",
            "--runtime torch, or --precision float16",
        )
    if precision == "tf32" and is_off:
        return Availability(False, f"{_NO_TF32}=0 turns tf32 off", f"unset {_NO_TF32}")
    if precision == "float32" and _is_tensorrt(target) and not is_off:
        return Availability(
            False,
            "TensorRT rounds float32 to tf32, and ONNX Runtime has no option against it",
            f"--precision tf32, or set {_NO_TF32}=0 before hwnas starts",
        )
    return None


def provider_missing(target: Target) -> Availability | None:
    """None where the target's provider is built in and finds its libraries, else why not."""
    name = provider_of(target)
    if name not in ort.get_available_providers():
        return Availability(
            False,
            f"onnxruntime has no {name}",
            "pip uninstall onnxruntime; pip install onnxruntime-gpu",
        )
    error = _load_error(name)
    if not error:
        return None
    remedy = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    if _is_tensorrt(target):
        remedy += ", and TensorRT where the loader finds it (LD_LIBRARY_PATH)"
    return Availability(False, error, remedy)


def engine_folder(source: bytes, target: Target) -> Path:
    """Where TensorRT keeps the engines of one model on this GPU; made if it is not there."""
    identity = hashlib.sha256(source + graphics_processor().encode()).hexdigest()[:32]
    folder = _cache(target) / "engines" / identity
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache(target: Target) -> Path:
    """Apart by precision: TensorRT does not know what the environment variable was."""
    cache = Path(platformdirs.user_cache_dir("hwnas", appauthor=False)) / "tensorrt"
    folder = cache / target.runtime.precision
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _is_tensorrt(target: Target) -> bool:
    return target.gpu is not None and target.gpu.runtime == "tensorrt"


def _word(value: bool) -> str:
    return "True" if value else "False"


@lru_cache(maxsize=1)
def _preload() -> None:
    """Load CUDA's libraries from Python packages, where they are installed as such."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        if hasattr(ort, "preload_dlls"):  # from 1.21 on
            ort.preload_dlls()


@lru_cache(maxsize=2)
def _load_error(provider: str) -> str:
    """Why a provider that is built in cannot run a network of one operator; empty if it can."""
    _preload()
    g = GraphBuilder("probe")
    g.output(g.relu(g.input("input", (1,))), "output")
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal: the reason goes into the answer
    try:
        open_session(to_onnx(g.build(), {}).SerializeToString(), options, ((provider, {}), _CPU))
    except LoweringError as error:
        return str(error)
    return ""
