"""Search spaces: what can be built."""

from hwnas.spaces.cells import Cell, CellLayout, CellSpace
from hwnas.spaces.decisions import Architecture, Decision, DecisionSpace, Option, Population
from hwnas.spaces.registry import available_spaces, get_space
from hwnas.spaces.space import ChoiceBlock, Fragment, Presence, SearchSpace

__all__ = [
    "Architecture",
    "Cell",
    "CellLayout",
    "CellSpace",
    "ChoiceBlock",
    "Decision",
    "DecisionSpace",
    "Fragment",
    "Option",
    "Population",
    "Presence",
    "SearchSpace",
    "available_spaces",
    "get_space",
]
