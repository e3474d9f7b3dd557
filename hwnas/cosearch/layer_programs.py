"""Networks of a space as sequences of distinct layers, for whole populations.

A choice block emits the same layers whenever its own decisions are the same, so the layers of a
network are a gather from one table for each block. No network is built.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.accelerators import Layers, layers_of
from hwnas.errors import LoweringError, SpaceError
from hwnas.spaces import Population, SearchSpace

__all__ = ["LayerProgram", "compile_layers"]

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class LayerProgram:
    """What a space's networks run, in order.

    Args:
        space: The space.
        tables: Per block `(slots, most)` layer numbers, padded with -1.
        layer_names: Per block and slot the layers' names.
    """

    space: SearchSpace
    tables: tuple[Ids, ...]
    layer_names: tuple[tuple[tuple[str, ...], ...], ...]

    def layers(self, population: Population) -> Ids:
        """Numbers of each network's layers in order, `(n, length)`; -1 stands between them.

        Args:
            population: `(n, d)`.
        """
        slots = self._slots(population)
        return np.concatenate(
            [table[slots[:, block]] for block, table in enumerate(self.tables)], axis=1
        )

    def names(self, row: Population) -> list[str]:
        """Names of one network's layers, as `block/layer`, `(length,)`; empty between them.

        Args:
            row: `(d,)`.
        """
        found: list[str] = []
        slots = self._slots(row[None])[0]
        for block, (table, names) in enumerate(zip(self.tables, self.layer_names, strict=True)):
            own = [f"{self.space.blocks[block].name}/{name}" for name in names[slots[block]]]
            found += own + [""] * (table.shape[1] - len(own))
        return found

    def _slots(self, population: Population) -> npt.NDArray[np.int64]:
        slots = np.zeros((len(population), len(self.tables)), np.int64)
        for block in range(len(self.tables)):
            for column in self.space.columns_of(block):
                slots[:, block] *= int(self.space.option_counts[column])
                slots[:, block] += population[:, column]
        return slots


def compile_layers(spaces: Sequence[SearchSpace]) -> tuple[Layers, tuple[LayerProgram, ...]]:
    """All distinct layers of some spaces, and which of them their networks run.

    Raises:
        SpaceError: A space has a layer that no dataflow can map.
    """
    numbers: dict[bytes, int] = {}
    rows: list[npt.NDArray[np.int32]] = []
    first_names: list[str] = []

    def number(row: npt.NDArray[np.int32], name: str) -> int:
        key = row.tobytes()
        if key not in numbers:
            numbers[key] = len(rows)
            rows.append(row)
            first_names.append(name)
        return numbers[key]

    programs = []
    for space in spaces:
        tables, layer_names = [], []
        for block in range(len(space.blocks)):
            slots = [_layers_of_slot(space, block, choice) for choice in space.slots(block)]
            table = np.full((len(slots), max(map(len, slots))), -1, np.int32)
            for slot, layers in enumerate(slots):
                for place, row in enumerate(layers.table):
                    table[slot, place] = number(row, layers.names[place])
            tables.append(table)
            layer_names.append(tuple(layers.names for layers in slots))
        programs.append(LayerProgram(space, tuple(tables), tuple(layer_names)))
    if not rows:
        raise SpaceError("no network of these spaces has a layer that an accelerator would run")
    return Layers(np.stack(rows), tuple(first_names)), tuple(programs)


def _layers_of_slot(space: SearchSpace, block: int, choice: tuple[int, ...]) -> Layers:
    try:
        return layers_of(space.fragment(block, choice).graph)
    except LoweringError as error:
        raise SpaceError(f"space {space.name!r} cannot be co-searched: {error}") from error
