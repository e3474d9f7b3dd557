"""Search spaces: what can be built."""

from hwnas.spaces.accelerator_space import AcceleratorSpace
from hwnas.spaces.cells import Cell, CellLayout, CellSpace
from hwnas.spaces.decisions import Architecture, Decision, DecisionSpace, Option, Population
from hwnas.spaces.joint_space import JointSpace
from hwnas.spaces.nasbench101 import NasBench101, nasbench101
from hwnas.spaces.nasbench201 import NasBench201
from hwnas.spaces.registry import (
    available_hardware_spaces,
    available_spaces,
    get_hardware_space,
    get_space,
)
from hwnas.spaces.space import ChoiceBlock, Fragment, Presence, SearchSpace

__all__ = [
    "AcceleratorSpace",
    "Architecture",
    "Cell",
    "CellLayout",
    "CellSpace",
    "ChoiceBlock",
    "Decision",
    "DecisionSpace",
    "Fragment",
    "JointSpace",
    "NasBench101",
    "NasBench201",
    "Option",
    "Population",
    "Presence",
    "SearchSpace",
    "available_hardware_spaces",
    "available_spaces",
    "get_hardware_space",
    "get_space",
    "nasbench101",
]
