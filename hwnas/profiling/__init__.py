"""Measuring: the protocol, and the table filled by it."""

from hwnas.profiling.energy_meter import EnergyMeter, NoMeterError, find_meter
from hwnas.profiling.estimate import Estimate, estimate_median, sum_of_estimates
from hwnas.profiling.networks import measure_networks, reference_anchor, space_anchors
from hwnas.profiling.profiler import (
    ProfileSummary,
    backend_for,
    profile_space,
    source_of,
)
from hwnas.profiling.protocol import Protocol

__all__ = [
    "EnergyMeter",
    "Estimate",
    "NoMeterError",
    "ProfileSummary",
    "Protocol",
    "backend_for",
    "estimate_median",
    "find_meter",
    "measure_networks",
    "profile_space",
    "reference_anchor",
    "source_of",
    "space_anchors",
    "sum_of_estimates",
]
