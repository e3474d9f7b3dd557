"""Latency of a finished ONNX model on a target."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.backends import MeasuringBackend, ModelBackend
from hwnas.costs import CostTable, Source
from hwnas.errors import LoweringError, TargetError
from hwnas.profiling import (
    Estimate,
    Protocol,
    backend_for,
    measure_networks,
    reference_anchor,
    source_of,
)
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = ["MeasuredModel", "measure_model"]

_LARGEST_MODEL_BYTES = 2**31  # protobuf's own limit


@dataclass(frozen=True)
class MeasuredModel:
    """Latency of a model.

    Args:
        latency: In s.
        source: Target and runtime.
        size_bytes: Of the file.
    """

    latency: Estimate
    source: Source
    size_bytes: int


def measure_model(
    path: Path,
    target: Target,
    *,
    protocol: Protocol,
    table: CostTable | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> MeasuredModel:
    """Measure a model file as a whole.

    Raises:
        LoweringError: The file is missing, too large, no ONNX model, or has free dimensions.
        TargetError: The target cannot measure model files here.
    """
    if not path.is_file():
        raise LoweringError(f"model {path} does not exist")
    size = path.stat().st_size
    if not 0 < size < _LARGEST_MODEL_BYTES:
        raise LoweringError(f"model {path} has {size} bytes; 1 byte to 2 GiB can be measured")
    backend = backend_for(target, table)
    if not (isinstance(backend, MeasuringBackend) and isinstance(backend, ModelBackend)):
        raise TargetError(f"target {target.name!r} cannot measure ONNX files; target cpu can")
    available = backend.is_available(target)
    if not available.works:
        raise TargetError(f"{target.name}: {available.reason}; {available.remedy}")
    source = source_of(target, backend)
    found = measure_networks(
        {"model": backend.compile_model(path, target, progress=progress)},
        target,
        backend,
        protocol=protocol,
        rng=np.random.default_rng(seed),
        anchors=None if table is None else reference_anchor(backend, target, table, source),
        progress=progress,
    )
    return MeasuredModel(found["model"], source, size)
