"""An FPGA as a target: an int8 systolic array, its cycles, its clock, its simulation."""

from hwnas.fpga.arithmetic import Requantisation, parameter_words, requantise
from hwnas.fpga.characterisation import (
    ArrayRow,
    ArraySummary,
    array_rows,
    default_rows_path,
    read_rows,
    summarise_array,
    write_rows,
)
from hwnas.fpga.cycles import LayerPlans, plan_layers
from hwnas.fpga.layers import ArrayLayer, array_layer, array_layers
from hwnas.fpga.reference import QuantisedLayer, convolution_patches, reference_outputs
from hwnas.fpga.rtl import RTL_NAME, RTL_VERSION, rtl_hash
from hwnas.fpga.systolic_cycles import systolic_cycles

__all__ = [
    "RTL_NAME",
    "RTL_VERSION",
    "ArrayLayer",
    "ArrayRow",
    "ArraySummary",
    "LayerPlans",
    "QuantisedLayer",
    "Requantisation",
    "array_layer",
    "array_layers",
    "array_rows",
    "convolution_patches",
    "default_rows_path",
    "parameter_words",
    "plan_layers",
    "read_rows",
    "reference_outputs",
    "requantise",
    "rtl_hash",
    "summarise_array",
    "systolic_cycles",
    "write_rows",
]
