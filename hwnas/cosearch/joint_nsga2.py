"""NSGA-II over networks and chip at once, with the evaluator of NASAIC."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hwnas.cosearch.designs import OBJECTIVES, Designs
from hwnas.cosearch.episodes import part_of
from hwnas.cosearch.problem import CoSearchOptions, Problem
from hwnas.cosearch.specs import METRICS
from hwnas.search import Evaluation, Nsga2, SearchProgress, State, run_search
from hwnas.spaces import Population

__all__ = ["JointNsga2"]

Floats = npt.NDArray[np.float64]

_POPULATION = 100


class JointNsga2:
    """Minimises error, latency, energy and area, with the specs as budgets.

    Errors are asked for only where the specs are met.

    Args:
        problem: The problem.
        options: `episodes * (1 + hardware_steps)` designs are evaluated, as NASAIC does.
        rng: The only source of chance.
    """

    name = "nsga2"

    def __init__(
        self, problem: Problem, options: CoSearchOptions, rng: np.random.Generator
    ) -> None:
        self._problem = problem
        self._evaluations = options.episodes * (1 + options.hardware_steps)
        population = min(_POPULATION, max(2, self._evaluations))
        self._strategy = Nsga2(problem.joint, rng=rng, population_size=population)
        self._designs = problem.designs()
        self._searched: Callable[[], State] | None = None
        self._resumed: State | None = None

    @property
    def designs(self) -> Designs:
        """All that was evaluated; filled when the search has come to its end."""
        return self._designs

    def run(self, on_progress: Callable[[float], None]) -> None:
        """Run the generations that are left."""
        clock_hz = self._problem.evaluator.tables.technology.clock_hz

        def cost(population: Population) -> Floats:
            costs = self._problem.evaluator.costs(population)
            return np.column_stack([costs[:, 0] / clock_hz, costs[:, 1:], costs[:, 0]])

        def on_generation(now: SearchProgress) -> None:
            self._searched = now.state
            on_progress(min(1.0, now.evaluations / self._evaluations))

        evaluation = Evaluation(
            cost,
            ("latency_s", "energy_j", "area_mm2", "latency_cycles"),
            self._problem.errors.weighted,
            OBJECTIVES,
        )
        result = run_search(
            self._strategy,
            evaluation,
            self._problem.specs.budgets(),
            self._evaluations,
            decisions=len(self._problem.joint.decisions),
            on_generation=on_generation,
            resume=self._resumed,
        )
        history = result.history
        errors = np.full((len(history), len(self._problem.errors.weights)), np.nan)
        judged = np.isfinite(history.objectives[:, 0])
        errors[judged] = self._problem.errors.errors(history.population[judged])
        columns = [history.metrics.index(metric) for metric in METRICS]
        designs = self._problem.designs()
        for generation in np.unique(history.generation):
            rows = history.generation == generation
            designs.add(
                history.population[rows],
                history.costs[rows][:, columns],
                errors[rows],
                history.violation[rows],
                generation=int(generation),
            )
        self._designs = designs

    def handed_over(self) -> int:
        """Index of the best design that meets the specs, else of the nearest miss."""
        best = self.designs.best()
        return self.designs.history.least_violating() if best is None else best

    def state(self) -> State:
        """All that decides how the search goes on."""
        searched = {} if self._searched is None else self._searched()
        errors = self._problem.errors.state()
        return {
            **{f"search.{name}": value for name, value in searched.items()},
            **{f"errors.{name}": value for name, value in errors.items()},
        }

    def restore(self, state: State) -> None:
        """Go on from a state.

        Args:
            state: What `state` returned; not trusted.

        Raises:
            RunError: It is malformed or of another search.
        """
        self._problem.errors.restore(part_of(state, "errors."))
        self._resumed = part_of(state, "search.") or None
