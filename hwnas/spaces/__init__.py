"""Search spaces: what can be built."""

from hwnas.spaces.cells import Cell, CellLayout, CellSpace
from hwnas.spaces.registry import available_spaces, get_space
from hwnas.spaces.space import (
    Architecture,
    ChoiceBlock,
    Decision,
    Fragment,
    Population,
    Presence,
    SearchSpace,
)

__all__ = [
    "Architecture",
    "Cell",
    "CellLayout",
    "CellSpace",
    "ChoiceBlock",
    "Decision",
    "Fragment",
    "Population",
    "Presence",
    "SearchSpace",
    "available_spaces",
    "get_space",
]
