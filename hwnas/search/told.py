"""What a strategy was told: architectures, their objectives, how far they are from the budgets."""

import numpy as np

from hwnas.errors import SpaceError
from hwnas.search.checkpoint import State
from hwnas.search.strategy import (
    Floats,
    Population,
    check_lengths,
    check_told,
    restored_array,
    restored_rows,
)

__all__ = ["Told"]


class Told:
    """Architectures with what was told of them.

    Args:
        width: Number of decisions d.

    Attributes:
        population: `(k, d)`, in the order told.
        objectives: `(k, m)`, all minimised; m is that of the first that was told.
        violation: `(k,)`, 0 or less where feasible.
    """

    def __init__(self, width: int) -> None:
        self.population: Population = np.empty((0, width), np.uint8)
        self.objectives: Floats = np.empty((0, 0))
        self.violation: Floats = np.empty(0)

    def __len__(self) -> int:
        """Tells how many architectures are held."""
        return len(self.population)

    def add(
        self, population: Population, objectives: Floats, violation: Floats | None
    ) -> Population:
        """Adds architectures, and returns them as they are held, `(n, d)`.

        Args:
            population: `(n, d)`; not kept, not changed.
            objectives: `(n, m)`.
            violation: `(n,)`, or None if all are feasible.

        Raises:
            SpaceError: If a shape does not fit.
        """
        rows, values, excess = check_told(
            self.population.shape[1], population, objectives, violation
        )
        if not len(rows):
            return rows
        if not len(self):
            self.objectives = np.empty((0, values.shape[1]))
        if values.shape[1] != self.objectives.shape[1]:
            raise SpaceError(
                f"told {values.shape[1]} objectives, {self.objectives.shape[1]} before"
            )
        self.population = np.concatenate((self.population, rows))
        self.objectives = np.concatenate((self.objectives, values))
        self.violation = np.concatenate((self.violation, excess))
        return rows

    def keep(self, places: np.ndarray) -> None:
        """Forgets all but some.

        Args:
            places: Indices, in the order in which they are held from now on.
        """
        self.population = self.population.take(places, axis=0)
        self.objectives = self.objectives.take(places, axis=0)
        self.violation = self.violation.take(places)

    def keep_latest(self, count: int) -> None:
        """Forgets all but the last to be told.

        Args:
            count: How many, at least 1.
        """
        if len(self) > count:
            self.keep(np.arange(len(self) - count, len(self)))

    def state(self) -> State:
        """Returns copies of all arrays."""
        return {
            "population": self.population.copy(),
            "objectives": self.objectives.copy(),
            "violation": self.violation.copy(),
        }

    def restore(self, state: State, option_counts: Population) -> None:
        """Takes all arrays from a state.

        Args:
            state: What `state` returned; not trusted.
            option_counts: `(d,)`, which bounds every row.

        Raises:
            RunError: If it is malformed.
        """
        population = restored_rows(state, "population", option_counts)
        objectives = restored_array(state, "objectives", np.float64, 2)
        violation = restored_array(state, "violation", np.float64, 1)
        check_lengths(len(population), {"objectives": objectives, "violation": violation})
        self.population, self.objectives, self.violation = population, objectives, violation
