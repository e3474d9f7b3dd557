"""The Pareto front: what a search hands over.

References:
    [Das99] Das, On Characterizing the "Knee" of the Pareto Curve, Structural Optimization 18,
    1999.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from hwnas.errors import BudgetError, RunError, SpaceError
from hwnas.search import dominance
from hwnas.search.strategy import Floats, Population

__all__ = ["Front"]


@dataclass(frozen=True, eq=False)
class Front:
    """The feasible architectures that no other feasible one dominates, one for each trade-off.

    Members are sorted by the second objective, then the third and so on, and by the first at last:
    with `("error", "latency_s")` the fastest comes first and the most accurate last. Build one
    with :meth:`of`, which sees to that; the arrays cannot be written to.

    Args:
        population: `(k, d)`.
        objectives: `(k, m)`, all minimised, in SI units.
        names: Names of the m objectives.
    """

    population: Population
    objectives: Floats
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        population: Population,
        objectives: ArrayLike,
        violation: ArrayLike | None,
        names: Sequence[str],
    ) -> Self:
        """Returns the front of these architectures.

        Args:
            population: `(n, d)`, `uint8`.
            objectives: `(n, m)`, all minimised; rows with NaN are left out.
            violation: `(n,)`, 0 or less where feasible; None means that all rows are.
            names: Names of the m objectives.

        Returns:
            The front, empty if no row is feasible. Of architectures with equal objectives only the
            first in the order of their encodings is kept, so that the front does not depend on the
            order of the rows.

        Raises:
            SpaceError: If the shapes do not fit.
        """
        values = np.asarray(objectives, dtype=np.float64)
        if values.shape != (len(population), len(names)) or not names:
            raise SpaceError(
                f"objectives have shape {values.shape}, expected ({len(population)}, {len(names)})"
            )
        kept = dominance.is_non_dominated(values, violation)
        rows, values = np.asarray(population)[kept], values[kept]
        # The last key of lexsort counts most.
        order = np.lexsort((*rows.T[::-1], values[:, 0], *values[:, :0:-1].T))
        rows, values = rows[order], values[order]
        distinct = np.ones(len(rows), bool)
        distinct[1:] = (values[1:] != values[:-1]).any(axis=1)
        rows, values = rows[distinct], values[distinct]
        rows.flags.writeable = values.flags.writeable = False
        return cls(rows, values, tuple(names))

    def __len__(self) -> int:
        """Tells how many members there are."""
        return len(self.population)

    def __eq__(self, other: object) -> bool:
        """Tells whether both hold the same architectures, objectives and names."""
        return (
            isinstance(other, Front)
            and self.names == other.names
            and np.array_equal(self.population, other.population)
            and np.array_equal(self.objectives, other.objectives)
        )

    __hash__ = None  # type: ignore[assignment]

    def merge(self, other: "Front") -> "Front":
        """Returns the front of both fronts' members.

        Args:
            other: Front of the same space and objectives.

        Raises:
            SpaceError: If it is of others.
        """
        if self.names != other.names or self.population.shape[1] != other.population.shape[1]:
            raise SpaceError(
                f"cannot merge a front of {self.names} over {self.population.shape[1]} decisions "
                f"with one of {other.names} over {other.population.shape[1]}"
            )
        return Front.of(
            np.concatenate((self.population, other.population)),
            np.concatenate((self.objectives, other.objectives)),
            None,
            self.names,
        )

    def hypervolume(self, reference: ArrayLike) -> float:
        """Returns the volume that the front dominates below the reference.

        Args:
            reference: `(m,)`, in the objectives' order and units.

        Raises:
            SpaceError: If it does not fit or is not finite.
        """
        return dominance.hypervolume(self.objectives, reference)

    def pick(self, which: str | int = "knee") -> int:
        """Returns the index of one member.

        Args:
            which: `fastest`: least `latency_s`. `best`: least `error`. `knee`: with each objective
                scaled to [0, 1] over the front, the member furthest below the plane through the
                ends, sum of x_j = 1 [Das99]; for two objectives that is the chord between the
                ends. An objective that does not vary counts as 0. Of ties the first member, which
                for the knee is the faster one. An integer, also as text: that member; a negative
                one counts from the end.

        Raises:
            BudgetError: If the front is empty.
            RunError: If there is no such member or objective.
        """
        if not len(self):
            raise BudgetError("the front is empty: no architecture met the budgets; raise them")
        if which == "knee":
            low = self.objectives.min(axis=0)
            span = np.ptp(self.objectives, axis=0)
            scaled = (self.objectives - low) / np.where(span > 0, span, 1.0)
            # Rounded, so that members that tie on paper tie here.
            return int(np.argmin(np.round(scaled.sum(axis=1), 12)))
        if which in ("fastest", "best"):
            name = "latency_s" if which == "fastest" else "error"
            if name not in self.names:
                raise RunError(f"cannot pick {which}: objectives are {', '.join(self.names)}")
            return int(np.argmin(self.objectives[:, self.names.index(name)]))
        try:
            index = int(which)
        except ValueError:
            raise RunError(
                f"cannot pick {which!r}; available: knee, fastest, best, 0 to {len(self) - 1}"
            ) from None
        if not -len(self) <= index < len(self):
            raise RunError(f"cannot pick member {index}; the front has {len(self)}, from 0")
        return index % len(self)

    def to_rows(self) -> list[dict[str, str | float]]:
        """Returns one row for each member, ready for a CSV file.

        `architecture` holds the option indices joined by `-`; the other columns bear the names of
        the objectives. Written with `repr`, as the `csv` module does, floats read back exactly.
        """
        return [
            {
                "architecture": "-".join(str(option) for option in row),
                **dict(zip(self.names, (float(value) for value in values), strict=True)),
            }
            for row, values in zip(self.population.tolist(), self.objectives, strict=True)
        ]

    @classmethod
    def from_rows(
        cls, rows: Iterable[Mapping[str, str | float]], names: Sequence[str], decisions: int
    ) -> Self:
        """Returns the front that `to_rows` was called on.

        Args:
            rows: What `to_rows` returned, values as text or as floats; columns that are not asked
                for are ignored.
            names: Names of the objectives.
            decisions: Number of decisions d.

        Raises:
            RunError: If a row is malformed.
        """
        population: list[list[int]] = []
        objectives: list[list[float]] = []
        for number, row in enumerate(rows):
            try:
                options = [int(part) for part in str(row["architecture"]).split("-")]
                values = [float(row[name]) for name in names]
            except (KeyError, ValueError) as error:
                raise RunError(f"row {number} of the front is malformed: {error}") from None
            if len(options) != decisions or not all(0 <= option < 256 for option in options):
                raise RunError(f"row {number} of the front does not name {decisions} options")
            population.append(options)
            objectives.append(values)
        return cls.of(
            np.array(population, np.uint8).reshape(-1, decisions),
            np.array(objectives, np.float64).reshape(-1, len(names)),
            None,
            names,
        )
