"""Search spaces: what can be built."""

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
    "ChoiceBlock",
    "Decision",
    "Fragment",
    "Population",
    "Presence",
    "SearchSpace",
    "available_spaces",
    "get_space",
]
