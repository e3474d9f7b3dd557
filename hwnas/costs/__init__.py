"""What things cost: the table, and populations costed from it."""

from hwnas.costs.calibration import Calibration, fit_calibration
from hwnas.costs.compiled import CompiledCosts, compile_costs
from hwnas.costs.counted import COUNTED_METRICS, count_costs
from hwnas.costs.energy import modelled_energy_j
from hwnas.costs.table import Cost, CostTable, Provenance, Source, default_table_path

__all__ = [
    "COUNTED_METRICS",
    "Calibration",
    "CompiledCosts",
    "Cost",
    "CostTable",
    "Provenance",
    "Source",
    "compile_costs",
    "count_costs",
    "default_table_path",
    "fit_calibration",
    "modelled_energy_j",
]
