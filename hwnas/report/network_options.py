"""The options of a network, block by block."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hwnas.errors import HwnasError
from hwnas.report import wording
from hwnas.spaces import get_space

__all__ = ["option_rows"]


def option_rows(
    space: str, architecture: Sequence[int], options: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Options by block: what stands before the last dot of a decision's name, and the rest.

    Args:
        space: Name of the network's space; one that is not at hand hides nothing.
        architecture: Option indices.
        options: The same by decision name.
    """
    absent = _absent_decisions(space, architecture)
    rows: dict[str, list[str]] = {}
    for name, option in options.items():
        block, dot, part = name.rpartition(".")
        found = rows.setdefault(block if dot else name, [])
        if name not in absent:
            shown = wording.plain(option)
            found.append(f"{part.replace('_', ' ')} {shown}" if dot else shown)
    return [(block, " · ".join(parts) or "left out") for block, parts in rows.items()]


def _absent_decisions(name: str, architecture: Sequence[int]) -> set[str]:
    """Decisions that shape nothing in the network; none if the space is not at hand."""
    try:
        space = get_space(name)
        options = space.options(space.architecture(np.array(architecture)))
    except HwnasError:
        return set()
    read: set[str] = set()
    used: set[str] = set()
    for block in space.blocks:
        read.update(block.reads.values())
        gate = block.present
        option = None if gate is None else options[gate.decision]
        if gate is None or (isinstance(option, int) and option >= gate.minimum):
            used.update(block.decisions)
    return read - used
