"""Accelerators as a model: layers, dataflows, technologies, and what they cost together."""

from hwnas.accelerators.dataflow import (
    DataflowCosts,
    DataflowParts,
    dataflow_costs,
    dataflow_parts,
)
from hwnas.accelerators.layers import Layers, layers_of
from hwnas.accelerators.points import AcceleratorPoints, points_of, points_of_options
from hwnas.accelerators.technology import Technology, available_technologies, get_technology

__all__ = [
    "AcceleratorPoints",
    "DataflowCosts",
    "DataflowParts",
    "Layers",
    "Technology",
    "available_technologies",
    "dataflow_costs",
    "dataflow_parts",
    "get_technology",
    "layers_of",
    "points_of",
    "points_of_options",
]
