"""Networks and the chip they run on, searched together.

`STRATEGIES` maps the name of each way to search to its class.
"""

from hwnas.cosearch.accuracy import TaskErrors, check_weights
from hwnas.cosearch.baselines import HardwareFirst, NetworkFirst
from hwnas.cosearch.cost_tables import CostTables, tabulate_costs
from hwnas.cosearch.designs import Designs
from hwnas.cosearch.evaluator import DesignEvaluator, ScheduledDesign
from hwnas.cosearch.joint_nsga2 import JointNsga2
from hwnas.cosearch.nasaic import Nasaic
from hwnas.cosearch.policy_gradient import PolicyOptions
from hwnas.cosearch.problem import CoSearch, CoSearchOptions, Problem
from hwnas.cosearch.specs import METRICS, Penalty, Specs

__all__ = [
    "METRICS",
    "STRATEGIES",
    "CoSearch",
    "CoSearchOptions",
    "CostTables",
    "DesignEvaluator",
    "Designs",
    "HardwareFirst",
    "JointNsga2",
    "Nasaic",
    "NetworkFirst",
    "Penalty",
    "PolicyOptions",
    "Problem",
    "ScheduledDesign",
    "Specs",
    "TaskErrors",
    "check_weights",
    "tabulate_costs",
]

_Strategy = type[Nasaic] | type[JointNsga2] | type[NetworkFirst] | type[HardwareFirst]

#: Name on the command line -> class, called as `cls(problem, options, rng)`.
STRATEGIES: dict[str, _Strategy] = {
    strategy.name: strategy for strategy in (Nasaic, JointNsga2, NetworkFirst, HardwareFirst)
}
