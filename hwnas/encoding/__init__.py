"""Populations of any space as numbers: for search, predictors, graph networks, deduplication."""

from hwnas.encoding.duplicates import Distinct, canonical_rows, distinct
from hwnas.encoding.encoder import Encoder, PathForm, SparseGraphs
from hwnas.encoding.families import family_of
from hwnas.encoding.layer_costs import LAYER_COSTS, LayerCosts

__all__ = [
    "LAYER_COSTS",
    "Distinct",
    "Encoder",
    "LayerCosts",
    "PathForm",
    "SparseGraphs",
    "canonical_rows",
    "distinct",
    "family_of",
]
