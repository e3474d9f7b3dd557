"""The table of a front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hwnas.report import wording
from hwnas.search.run_tables import FrontMember

__all__ = ["FrontColumn", "front_columns", "front_context"]

_MOST_ROWS = 200
_NO_ORIGIN = "origin not recorded"


@dataclass(frozen=True)
class FrontColumn:
    """A metric of the front table.

    Args:
        metric: Its name.
        label: The same for a reader.
        provenance: Where its numbers come from.
    """

    metric: str
    label: str
    provenance: str

    @property
    def origin(self) -> str:
        """The provenance in words; costs of a front are predicted, errors are not."""
        return (
            self.provenance
            if wording.is_error(self.metric)
            else wording.predicted_origin(self.provenance)
        )


def front_columns(
    front: Sequence[FrontMember], origins: Mapping[str, str]
) -> tuple[FrontColumn, ...]:
    """Columns of a front's table; none for an empty front.

    Args:
        front: The front.
        origins: Metric to provenance.
    """
    if not front:
        return ()
    metrics = ["error", *front[0].costs]
    return tuple(
        FrontColumn(m, wording.metric_label(m), origins.get(m, _NO_ORIGIN)) for m in metrics
    )


def front_context(
    front: Sequence[FrontMember],
    columns: Sequence[FrontColumn],
    chosen: Sequence[int] | None,
) -> dict[str, object]:
    """What the template `front.html` is filled with.

    Args:
        front: The front.
        columns: What is shown of each member.
        chosen: Option indices of what was handed over; None if nothing was.
    """
    return {
        "columns": columns,
        "front_rows": [_row(member, columns, chosen) for member in front[:_MOST_ROWS]],
        "front_size": len(front),
    }


def _row(
    member: FrontMember, columns: Sequence[FrontColumn], chosen: Sequence[int] | None
) -> dict[str, object]:
    values = {"error": member.error, **member.costs}
    return {
        "index": member.index,
        "picks": ", ".join(member.picks),
        "cells": [(c, wording.quantity(values[c.metric], c.metric)) for c in columns],
        "chosen": chosen is not None and list(member.architecture) == list(chosen),
    }
