"""Latency of a finished model on a target: ONNX, or what else its runtime loads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.backends import MeasuringBackend, ModelBackend
from hwnas.costs import CostTable, Source
from hwnas.errors import LoweringError, TargetError
from hwnas.lowering.model_file import check_size
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

_SUFFIXES = {".onnx": "cpu", ".tflite": "litert-cpu"}  # and a target that takes them


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
        LoweringError: The file is missing, too large, not of the kind that the
            target takes, or has free dimensions.
        TargetError: The target cannot measure model files here.
    """
    size = check_size(path)
    backend = backend_for(target, table)
    if not (isinstance(backend, MeasuringBackend) and isinstance(backend, ModelBackend)):
        raise TargetError(f"target {target.name!r} cannot measure model files; target cpu can")
    if path.suffix.lower() in _SUFFIXES and path.suffix.lower() != backend.model_suffix:
        raise LoweringError(
            f"target {target.name!r} measures {backend.model_suffix} files, and {path} is another "
            f"kind: export the network as {backend.model_suffix[1:]}, or measure the file on "
            f"{_SUFFIXES[path.suffix.lower()]}"
        )
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
