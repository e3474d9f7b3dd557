"""Kinds of hardware: how a graph is compiled and timed, or costed by a formula."""

from hwnas.backends.backend import (
    Availability,
    Backend,
    BlockBackend,
    BlockExecutable,
    Executable,
    KernelBackend,
    KernelBench,
    LaunchBackend,
    LoweredGraphs,
    MeasuringBackend,
    ModelBackend,
    ModellingBackend,
    RepeatingBench,
    TuningBudget,
    TuningReport,
)
from hwnas.backends.registry import available_backends, get_backend

__all__ = [
    "Availability",
    "Backend",
    "BlockBackend",
    "BlockExecutable",
    "Executable",
    "KernelBackend",
    "KernelBench",
    "LaunchBackend",
    "LoweredGraphs",
    "MeasuringBackend",
    "ModelBackend",
    "ModellingBackend",
    "RepeatingBench",
    "TuningBudget",
    "TuningReport",
    "available_backends",
    "get_backend",
]
