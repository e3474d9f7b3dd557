"""Search strategies, budgets and fronts on whole populations.

`STRATEGIES` maps each strategy's name to its class; plug-ins add theirs through the entry points
that :mod:`hwnas.plugins` reads.
"""

from hwnas.search.budgets import Budget, Budgets
from hwnas.search.checkpoint import State, load_state, save_state
from hwnas.search.dominance import (
    crowding_distance,
    hypervolume,
    is_non_dominated,
    non_dominated_sort,
)
from hwnas.search.feasible_first import FeasibleFirst
from hwnas.search.front import Front
from hwnas.search.nsga2 import Nsga2
from hwnas.search.predictor_guided import PredictorGuided
from hwnas.search.random_search import RandomSearch
from hwnas.search.regularized_evolution import RegularizedEvolution
from hwnas.search.search_loop import (
    Evaluation,
    History,
    SearchProgress,
    SearchResult,
    run_search,
)
from hwnas.search.strategy import PopulationSpace, Strategy

__all__ = [
    "STRATEGIES",
    "Budget",
    "Budgets",
    "Evaluation",
    "FeasibleFirst",
    "Front",
    "History",
    "Nsga2",
    "PopulationSpace",
    "PredictorGuided",
    "RandomSearch",
    "RegularizedEvolution",
    "SearchProgress",
    "SearchResult",
    "State",
    "Strategy",
    "crowding_distance",
    "hypervolume",
    "is_non_dominated",
    "load_state",
    "non_dominated_sort",
    "run_search",
    "save_state",
]

#: Name on the command line -> class, called as `cls(space, rng=..., population_size=...)`.
STRATEGIES: dict[
    str, type[RandomSearch] | type[RegularizedEvolution] | type[Nsga2] | type[PredictorGuided]
] = {
    strategy.name: strategy
    for strategy in (RandomSearch, RegularizedEvolution, Nsga2, PredictorGuided)
}
