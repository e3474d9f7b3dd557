"""Latency and energy of a finished model on a target: ONNX, or what else its runtime loads."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.backends import LaunchBackend, MeasuringBackend, ModelBackend
from hwnas.costs import CostTable, Source
from hwnas.errors import LoweringError, MeasurementError, TargetError
from hwnas.lowering.model_file import check_size
from hwnas.profiling import (
    Estimate,
    Protocol,
    backend_for,
    estimate_median,
    find_meter,
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
        latency: In s; on devices with a clock of their own, without what the host adds.
        launch: What the host adds to each run, in s, on such devices.
        energy: Of one run in J, above idle.
        idle_power_w: What was taken off.
        no_energy: Why energy is not known; empty if it is.
        source: Target and runtime.
        size_bytes: Of the file.
    """

    latency: Estimate
    source: Source
    size_bytes: int
    launch: Estimate | None = None
    energy: Estimate | None = None
    idle_power_w: float | None = None
    no_energy: str = ""


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
    executable = backend.compile_model(path, target, progress=progress)
    found = measure_networks(
        {"model": executable},
        target,
        backend,
        protocol=protocol,
        rng=np.random.default_rng(seed),
        anchors=None if table is None else reference_anchor(backend, target, table, source),
        progress=progress,
    )
    launch = None
    if isinstance(backend, LaunchBackend):
        launch = estimate_median(backend.launch_s(executable))
    measured = MeasuredModel(found["model"], source, size, launch)
    progress("measuring energy", 1.0)
    try:
        meter = find_meter(target)
        energy = meter.energy_of(executable)
    except MeasurementError as error:
        return replace(measured, no_energy=str(error))
    return replace(measured, energy=energy, idle_power_w=meter.idle_power_w)
