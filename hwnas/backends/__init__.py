"""Kinds of hardware: how a graph is compiled and timed, or costed by a formula."""

from hwnas.backends.backend import (
    Availability,
    Backend,
    BlockExecutable,
    Executable,
    MeasuringBackend,
    ModellingBackend,
)
from hwnas.backends.registry import available_backends, get_backend

__all__ = [
    "Availability",
    "Backend",
    "BlockExecutable",
    "Executable",
    "MeasuringBackend",
    "ModellingBackend",
    "available_backends",
    "get_backend",
]
