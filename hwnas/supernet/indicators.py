"""Which decisions of a space can be read from the weights of its largest network.

An option is nested in a larger one if the larger one only adds: rings around a kernel, channels, a
factor such as squeeze-and-excitation, or a whole block that otherwise hands its input through.
Every such step has an indicator, on the norm of a weight that the step adds, and steps of one
property form a ladder: a step is never taken without those below it. Ladders follow from the
graphs of the options; no name of a layer or decision is looked at. A joint decision, such as pairs
of kernel and expansion, has one ladder for each property that its options differ in.

Stamoulis et al., Single-Path NAS, 2019, sec. 3.1, is the case of two kernels, two expansions and a
skip.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hwnas.errors import SpaceError
from hwnas.graph import Graph, Shape, shape_of
from hwnas.lowering.torch_module import gate_name
from hwnas.spaces import SearchSpace
from hwnas.supernet.nested_options import left_out_factors

__all__ = ["OUTPUT", "DecisionLadders", "Ladder", "Mask", "Region", "find_ladders"]

OUTPUT = ""
"""Stands for the block's output in a mask: it moves from the input to the result."""
_Levels = npt.NDArray[np.int64]
_Key = tuple[tuple[str, Shape], ...]


@dataclass(frozen=True, eq=False)
class Region:
    """Part of a weight, of which the norm is taken.

    Args:
        block: Index of the block.
        local: Name of the weight in the block.
        rows: `(r,)` which of the first axis.
        columns: `(c,)` which of the other axes, flattened.
    """

    block: int
    local: str
    rows: npt.NDArray[np.bool_]
    columns: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Mask:
    """Factors of a weight that follow from a ladder.

    Args:
        block: Index of the block.
        local: Name of the weight in the block, of a gate, or `OUTPUT`.
        levels: Step from which on an entry is there; 0 for always. Broadcasts over the weight.
    """

    block: int
    local: str
    levels: _Levels


@dataclass(frozen=True, eq=False)
class Ladder:
    """Nested steps from the smallest to the largest value of one property.

    Args:
        regions: Of each step, what it adds.
        masks: What the network multiplies by the steps.
    """

    regions: tuple[tuple[Region, ...], ...]
    masks: tuple[Mask, ...]


@dataclass(frozen=True, eq=False)
class DecisionLadders:
    """Ladders of one decision.

    Args:
        column: Of the decision.
        ladders: One a property in which its options differ; none where there is one option.
        coordinates: Of each option its level on each ladder; None where the option does not have
            the property.
    """

    column: int
    ladders: tuple[Ladder, ...]
    coordinates: tuple[tuple[int | None, ...], ...]


def find_ladders(space: SearchSpace) -> tuple[DecisionLadders, ...]:
    """Ladders of every decision of a space.

    Raises:
        SpaceError: The options of a decision are not nested; it is named.
    """
    return tuple(_of_decision(space, column) for column in range(len(space.decisions)))


def _of_decision(space: SearchSpace, column: int) -> DecisionLadders:
    decision = space.decisions[column]
    if len(decision.options) == 1:
        return DecisionLadders(column, (), ((),))
    name = decision.name
    gated, readers, shaped = [], [], []
    for index, block in enumerate(space.blocks):
        if name in block.reads.values():
            readers.append(index)
        elif name in block.shaped_by:
            shaped.append(index)
        if block.present is not None and block.present.decision == name:
            gated.append(index)
    if gated and not readers and not shaped:
        return _of_presence(space, column, gated)
    if len(readers) == 1 and not gated and not shaped:
        return _OfBlock(space, column, readers[0]).ladders()
    others = [space.blocks[index].name for index in (*readers, *shaped, *gated)]
    raise _refused(space, column, f"shapes {len(others)} blocks, {', '.join(others[:3])}, ...")


def _of_presence(space: SearchSpace, column: int, gated: Sequence[int]) -> DecisionLadders:
    """Which blocks are there."""
    options = space.decisions[column].options
    regions: list[tuple[Region, ...]] = []
    masks: list[Mask] = []
    for level, (before, after) in enumerate(pairwise(options), 1):
        assert isinstance(before, int)
        assert isinstance(after, int)
        added = [
            index
            for index in gated
            if (gate := space.blocks[index].present) and before < gate.minimum <= after
        ]
        if not added:
            raise _refused(space, column, f"adds no block from {before} to {after}")
        graphs = [_graph(space, index) for index in added]
        for index, graph in zip(added, graphs, strict=True):
            masks += _presence_masks(space, column, index, graph, level)
        regions.append(
            tuple(_whole(index, graph) for index, graph in zip(added, graphs, strict=True))
        )
    coordinates = tuple((level,) for level in range(len(options)))
    return DecisionLadders(column, (Ladder(tuple(regions), tuple(masks)),), coordinates)


class _OfBlock:
    """A decision that one block reads and nothing else sees."""

    def __init__(self, space: SearchSpace, column: int, block: int) -> None:
        self.space, self.column, self.block = space, column, block
        count = int(space.option_counts[column])
        graphs = [_graph(space, block, column, option) for option in range(count)]
        self.full = graphs[-1]
        self.graphs = [graph if len(graph.nodes) else None for graph in graphs]
        self.there = [option for option in range(count) if self.graphs[option] is not None]

    def ladders(self) -> DecisionLadders:
        """All properties in which the options differ."""
        if self.graphs[-1] is None:
            raise self.refused("has a last option that does nothing")
        shapes, factors = self._compared()
        common = set.intersection(*(set(shapes[option]) for option in self.there))
        keys: list[dict[int, object]] = [
            {o: _sides(shapes[o], common) for o in self.there},
            {o: _channels(shapes[o], common) for o in self.there},
            dict(factors),
        ]
        levels = [self._levels(key) for key in keys]
        sizes = [max(found.values()) + 1 for found in levels]
        points = {tuple(found[o] for found in levels): o for o in self.there}
        if len(points) < len(self.there) or len(points) < int(np.prod(sizes)):
            raise self.refused("has options that are no grid of nested parts")
        last = [size - 1 for size in sizes]
        ladders: list[Ladder] = []
        kept = []
        for axis, make in enumerate((self._kernels, self._widths, self._factors)):
            if sizes[axis] > 1:
                path = [(*last[:axis], level, *last[axis + 1 :]) for level in range(sizes[axis])]
                options = [points[point] for point in path]
                ladders.append(make([shapes[o] for o in options], [factors[o] for o in options]))
                kept.append(axis)
        coordinates: list[tuple[int | None, ...]] = [
            tuple(levels[axis].get(option) for axis in kept) for option in range(len(self.graphs))
        ]
        if len(self.there) < len(self.graphs):
            ladders.append(self._skip())
            coordinates = [
                (*found, int(graph is not None))
                for found, graph in zip(coordinates, self.graphs, strict=True)
            ]
        return DecisionLadders(self.column, tuple(ladders), tuple(coordinates))

    def refused(self, what: str) -> SpaceError:
        return _refused(self.space, self.column, what)

    def _compared(self) -> tuple[dict[int, dict[str, Shape]], dict[int, frozenset[str]]]:
        """Shapes of all weights of each option, and the factors that each leaves out."""
        shapes: dict[int, dict[str, Shape]] = {}
        factors: dict[int, frozenset[str]] = {}
        for option in self.there:
            graph = self.graphs[option]
            assert graph is not None
            result, whole = graph.outputs[0], self.full.outputs[0]
            left_out = left_out_factors(result, whole)
            if left_out is None or shape_of(result) != shape_of(whole):
                raise self.refused(
                    f"has option {self.space.decisions[self.column].options[option]!r}, which "
                    "is no part of the last one"
                )
            shapes[option] = {name: shape_of(value) for name, value in graph.weights.items()}
            factors[option] = left_out
        return shapes, factors

    def _levels(self, keys: Mapping[int, object]) -> dict[int, int]:
        """Place of each option among the distinct values of a property, smallest first.

        Options stand from least to most work, so values come up in their order.
        """
        order = list(dict.fromkeys(keys.values()))
        return {option: order.index(key) for option, key in keys.items()}

    def _kernels(
        self, shapes: Sequence[Mapping[str, Shape]], factors: Sequence[frozenset[str]]
    ) -> Ladder:
        del factors
        regions: list[list[Region]] = [[] for _ in shapes[1:]]
        masks = []
        for name, largest in shapes[-1].items():
            sides = [found[name][2:] for found in shapes]
            if len(set(sides)) == 1:
                continue
            levels = np.full(largest[2:], len(sides) - 1)
            for level in range(len(sides) - 2, -1, -1):
                cuts = []
                for whole, side, above in zip(
                    largest[2:], sides[level], sides[level + 1], strict=True
                ):
                    if side > above or (whole - side) % 2:
                        raise self.refused(f"has kernels {sides} of {name!r}, none inside others")
                    cuts.append(slice((whole - side) // 2, (whole + side) // 2))
                levels[tuple(cuts)] = level
            masks.append(Mask(self.block, name, levels.reshape(1, 1, *levels.shape)))
            columns = np.broadcast_to(levels, (largest[1], *levels.shape)).reshape(-1)
            rows = np.ones(largest[0], dtype=bool)
            for step, found in enumerate(regions, 1):
                found.append(Region(self.block, name, rows, columns == step))
        return Ladder(tuple(map(tuple, regions)), tuple(masks))

    def _widths(
        self, shapes: Sequence[Mapping[str, Shape]], factors: Sequence[frozenset[str]]
    ) -> Ladder:
        """Channels inside the block; what reads them leaves out those that are not there."""
        del factors
        masks = []
        for name, largest in shapes[-1].items():
            counts = [found[name][1] for found in shapes if len(largest) > 1]
            if len(set(counts)) < 2:
                continue
            if counts != sorted(counts):
                raise self.refused(f"has widths {counts} of {name!r} that do not grow")
            levels = np.searchsorted(counts, np.arange(largest[1]), side="right")
            masks.append(Mask(self.block, name, levels.reshape(1, -1, *[1] * (len(largest) - 2))))
        grown = {n for n in shapes[0] if shapes[0][n][0] < shapes[-1][n][0]}
        measured = _measured(self.full, grown)
        if not masks or measured is None:
            raise self.refused("changes channels that nothing in the block reads")
        counts = [found[measured][0] for found in shapes]
        levels = np.searchsorted(counts, np.arange(counts[-1]), side="right")
        columns = np.ones(int(np.prod(shapes[-1][measured][1:])), dtype=bool)
        regions = tuple(
            (Region(self.block, measured, levels == step, columns),)
            for step in range(1, len(shapes))
        )
        if not all(region.rows.any() for (region,) in regions):
            raise self.refused(f"has widths {counts} of {measured!r} that do not grow")
        return Ladder(regions, tuple(masks))

    def _factors(
        self, shapes: Sequence[Mapping[str, Shape]], factors: Sequence[frozenset[str]]
    ) -> Ladder:
        regions = []
        masks = []
        for step in range(1, len(shapes)):
            added = sorted(factors[step - 1] - factors[step])
            own = [
                n for n in shapes[step] if n not in shapes[step - 1] and len(shapes[step][n]) > 1
            ]
            if not added or not factors[step] < factors[step - 1] or not own:
                raise self.refused("switches factors that are not nested or have no weights")
            gate = np.full(1, step)
            masks += [Mask(self.block, gate_name(node), gate) for node in added]
            regions.append((_whole(self.block, self.full, own[-1]),))
        return Ladder(tuple(regions), tuple(masks))

    def _skip(self) -> Ladder:
        if len(self.graphs) - len(self.there) > 1 or self.graphs[0] is not None:
            raise self.refused("has skips beside its first option")
        masks = _presence_masks(self.space, self.column, self.block, self.full, 1)
        return Ladder(((_whole(self.block, self.full),),), tuple(masks))


def _graph(space: SearchSpace, block: int, column: int = -1, option: int = 0) -> Graph:
    """A block with one option of a decision, and all other decisions at their largest."""
    choice = tuple(
        option if own == column else int(space.option_counts[own]) - 1
        for own in space.columns_of(block)
    )
    return space.fragment(block, choice).graph


def _sides(shapes: Mapping[str, Shape], names: set[str]) -> _Key:
    return tuple((name, shapes[name][2:]) for name in sorted(names))


def _channels(shapes: Mapping[str, Shape], names: set[str]) -> _Key:
    return tuple((name, shapes[name][:2]) for name in sorted(names))


def _measured(graph: Graph, names: set[str] | None = None) -> str | None:
    """The depthwise kernel; without one the first kernel or matrix."""
    shapes = {
        name: shape_of(value)
        for name, value in graph.weights.items()
        if len(value.shape or ()) > 1 and (names is None or name in names)
    }
    depthwise = (
        name for name, shape in shapes.items() if len(shape) == 4 and shape[1] == 1 < shape[0]
    )
    return next(depthwise, next(iter(shapes), None))


def _whole(block: int, graph: Graph, name: str | None = None) -> Region:
    name = name or _measured(graph)
    if name is None:
        raise SpaceError(f"block number {block} has no kernel and no matrix to measure")
    shape = shape_of(graph.weights[name])
    columns = np.ones(int(np.prod(shape[1:])), dtype=bool)
    return Region(block, name, np.ones(shape[0], dtype=bool), columns)


def _presence_masks(
    space: SearchSpace, column: int, block: int, graph: Graph, level: int
) -> list[Mask]:
    """What takes a block's effect away: the scale and bias that end its residual branch."""
    result = graph.outputs[0]
    if not graph.nodes or shape_of(graph.inputs[0]) != shape_of(result):
        raise _refused(
            space, column, f"leaves out block {space.blocks[block].name!r}, which changes shapes"
        )
    gate = np.full(1, level)
    add = result.producer()
    if add is not None and add.op_type == "Add" and graph.inputs[0] in add.inputs:
        for value in add.inputs:
            if value is None:
                continue
            norm = value.producer()
            if (
                norm is not None
                and norm.op_type == "BatchNormalization"
                and len(value.uses()) == 1
            ):
                names = [each.name for each in norm.inputs[1:3] if each is not None]
                return [Mask(block, name or "", gate) for name in names]
    return [Mask(block, OUTPUT, gate)]


def _refused(space: SearchSpace, column: int, what: str) -> SpaceError:
    return SpaceError(
        f"single-path on {space.name}: decision {space.decisions[column].name!r} {what}; "
        "one superkernel holds only options that are parts of one another; fix the decision, or "
        "use nsga2"
    )
