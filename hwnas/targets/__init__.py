"""Targets: what a device is, read from `targets/<device>/device.toml`.

A *kind* of hardware is code (a backend), a *device* is data (this file). User devices are TOML
files given by path, or entry points of the group `hwnas.targets` that name a folder.
"""

from hwnas.targets.device_file import (
    AcceleratorChip,
    AcceleratorCore,
    EnergyModel,
    FpgaArray,
    Gpu,
    GpuRuntime,
    PeakRates,
    Precision,
    Processor,
    Remote,
    Runtime,
)
from hwnas.targets.registry import available_targets, get_target
from hwnas.targets.target import MAX_BATCH, Settings, Target

__all__ = [
    "MAX_BATCH",
    "AcceleratorChip",
    "AcceleratorCore",
    "EnergyModel",
    "FpgaArray",
    "Gpu",
    "GpuRuntime",
    "PeakRates",
    "Precision",
    "Processor",
    "Remote",
    "Runtime",
    "Settings",
    "Target",
    "available_targets",
    "get_target",
]
