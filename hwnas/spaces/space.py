"""Search spaces: ordered decisions, and choice blocks that turn decisions into operators.

A choice block names the few decisions that shape it and emits operators into a graph builder. That
one declaration serves every reader: the network is all blocks emitted in order, the units to
profile are the distinct fragments that blocks emit, compiled costs are tables indexed by a block's
own decisions, and the elastic supernet shares the largest weight that any choice of a block
declares under one name.

Conventions that every space keeps (checked by `hwnas.testing.space_conformance`):
options go from least to most work, so the first options make the smallest network and the last
ones the largest (a space that keeps a published order says so by `is_ordered`, and which networks
are its smallest and largest); a decision that only shapes an absent block is inactive and has
option 0 in canonical form; the shapes of a block's inputs follow from the decisions that the block
itself reads.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from hwnas import _core
from hwnas.errors import SpaceError
from hwnas.graph import IR_VERSION, Graph, GraphBuilder, Shape, kernel_key, shape_of
from hwnas.spaces.decisions import (
    Architecture,
    Decision,
    DecisionSpace,
    Option,
    Population,
    check_distinct,
)

__all__ = ["ChoiceBlock", "Emit", "Fragment", "Presence", "SearchSpace"]

Emit = Callable[..., ir.Value]


@dataclass(frozen=True)
class Presence:
    """The block exists only if the option of `decision` is at least `minimum`."""

    decision: str
    minimum: int


@dataclass(frozen=True)
class ChoiceBlock:
    """A part of the network that a few decisions shape.

    Args:
        name: Unique in the space; prefixes the block's weights.
        emit: Called as `emit(builder, *inputs, **choice)`, returns the block's result.
        reads: Argument name of `emit` to decision name.
        inputs: Names of the blocks whose results it takes; by default the block before it.
        present: When the block exists; an absent block hands its first input through.
        shaped_by: Decisions that reach the block only through the shapes of its inputs, such as
            the image size.
    """

    name: str
    emit: Emit
    reads: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] | None = None
    present: Presence | None = None
    shaped_by: tuple[str, ...] = ()

    @property
    def decisions(self) -> tuple[str, ...]:
        """Decisions that shape the block, in the order of its slots."""
        gate = () if self.present is None else (self.present.decision,)
        return tuple(dict.fromkeys((*gate, *self.shaped_by, *self.reads.values())))


@dataclass(frozen=True, eq=False)
class Fragment:
    """What a block emits for one choice: a graph with its own inputs and outputs, and its key.

    An empty fragment (absent block, skip) has no nodes and costs nothing; its output is the input
    that it hands through.
    """

    graph: Graph
    key: str

    @property
    def is_empty(self) -> bool:
        """Whether the block does nothing for this choice."""
        return not self.graph.nodes


class SearchSpace(DecisionSpace):
    """A finite set of networks.

    Args:
        name: Name, with parameters if it has any, such as `proxyless-mobile@128`.
        decisions: In column order of populations.
        blocks: In topological order; the last one's result is the network's output, and blocks
            that take no input declare the network's inputs.
        description: One line for `hwnas spaces`.

    Raises:
        SpaceError: A name is not unique or unknown, or a decision has no or too many options.
    """

    def __init__(
        self,
        name: str,
        decisions: tuple[Decision, ...],
        blocks: tuple[ChoiceBlock, ...],
        description: str = "",
    ) -> None:
        super().__init__(name, decisions, description)
        self.blocks = blocks
        self._block = {block.name: i for i, block in enumerate(blocks)}
        self._fragments: dict[tuple[Any, ...], Fragment] = {}
        self._shapes: dict[tuple[str, tuple[int, ...]], Shape] = {}
        self._check()

    def restricted(self, name: str, options: Mapping[str, tuple[Option, ...]]) -> "SearchSpace":
        """The part of this space in which some decisions have fewer options.

        Args:
            name: Name of the part.
            options: Decision to the options it keeps, in their order here.

        Raises:
            SpaceError: A decision or one of the options is not there, or the order is another.
        """
        unknown = sorted(set(options) - set(self._column))
        if unknown:
            raise SpaceError(f"{self.name} has no decision {unknown[0]!r}")
        decisions = []
        for decision in self.decisions:
            kept = options.get(decision.name, decision.options)
            if tuple(option for option in decision.options if option in kept) != tuple(kept):
                raise SpaceError(
                    f"decision {decision.name!r} has options {decision.options}, of which {kept} "
                    "is no part in the same order"
                )
            decisions.append(Decision(decision.name, tuple(kept)))
        return SearchSpace(name, tuple(decisions), self.blocks, f"a part of {self.name}")

    @cached_property
    def cardinality(self) -> int:
        """Number of distinct canonical architectures (exact)."""
        parents, active = self._activity
        children: dict[int, list[int]] = {}
        for column, parent in enumerate(parents.tolist()):
            children.setdefault(parent, []).append(column)

        def count(column: int) -> int:
            total = 0
            for option in range(int(self.option_counts[column])):
                below = children.get(column, [])
                total += prod(count(child) for child in below if active[child, option])
            return total

        return prod(count(column) for column in children.get(-1, []))

    # Networks ----------------------------------------------------------------------------------

    def network(self, architecture: Architecture) -> Graph:
        """The whole network of an architecture, weights declared without values."""
        self._check_member(architecture)
        builder = GraphBuilder(self.name)
        results: dict[str, ir.Value] = {}
        for index, block in enumerate(self.blocks):
            inputs = [results[name] for name in self.inputs_of(index)]
            choice = tuple(architecture.indices[column] for column in self.columns_of(index))
            with builder.scope(block.name):
                results[block.name] = self._emit(builder, index, choice, inputs)
        builder.output(results[self.blocks[-1].name], "output")
        return builder.build()

    def columns_of(self, block: int) -> tuple[int, ...]:
        """Columns of the decisions that shape a block, in the order of its slots."""
        return tuple(self._column[name] for name in self.blocks[block].decisions)

    def inputs_of(self, block: int) -> tuple[str, ...]:
        """Names of the blocks whose results a block takes."""
        declared = self.blocks[block].inputs
        if declared is not None:
            return declared
        return (self.blocks[block - 1].name,) if block else ()

    def slots(self, block: int) -> Iterator[tuple[int, ...]]:
        """All choices of a block as option indices, the first decision most significant."""
        counts = [int(self.option_counts[column]) for column in self.columns_of(block)]
        return product(*(range(count) for count in counts))

    def fragment(self, block: int, choice: tuple[int, ...]) -> Fragment:
        """What a block emits for one choice of its decisions (kept: equal blocks share it)."""
        declared = self.blocks[block]
        shapes = tuple(self._result_shape(name, block, choice) for name in self.inputs_of(block))
        emit = declared.emit
        source: Any = emit
        if isinstance(emit, partial):
            source = (emit.func, emit.args, tuple(sorted(emit.keywords.items())))
        absent = self._is_absent(block, choice)
        memo = (source, shapes, None if absent else self._arguments(block, choice))
        found = self._fragments.get(memo)
        if found is None:
            builder = GraphBuilder(declared.name)
            inputs = [builder.input(f"input.{i}", shape) for i, shape in enumerate(shapes)]
            result = self._emit(builder, block, choice, inputs)
            if result.producer() is None:  # an absent block, or one that declares an input
                empty = ir.Graph(inputs or [result], [result], nodes=[])
                graph = Graph(ir.Model(empty, ir_version=IR_VERSION))
            else:
                builder.output(result, "output")
                graph = builder.build()
            found = Fragment(graph, kernel_key(graph))
            self._fragments[memo] = found
        return found

    # Private -----------------------------------------------------------------------------------

    def _emit(
        self, builder: GraphBuilder, block: int, choice: tuple[int, ...], inputs: list[ir.Value]
    ) -> ir.Value:
        if self._is_absent(block, choice):
            return inputs[0]
        return self.blocks[block].emit(builder, *inputs, **dict(self._arguments(block, choice)))

    def _arguments(self, block: int, choice: tuple[int, ...]) -> tuple[tuple[str, Option], ...]:
        declared = self.blocks[block]
        chosen = dict(zip(declared.decisions, choice, strict=True))
        return tuple(
            (argument, self.decisions[self._column[name]].options[chosen[name]])
            for argument, name in declared.reads.items()
        )

    def _is_absent(self, block: int, choice: tuple[int, ...]) -> bool:
        present = self.blocks[block].present
        if present is None:
            return False
        option = self.decisions[self._column[present.decision]].options[choice[0]]
        assert isinstance(option, int)
        return option < present.minimum

    def _result_shape(self, name: str, reader: int, choice: tuple[int, ...]) -> Shape:
        """Shape of a block's result, given the choice of a later block that reads it.

        What the reader's choice leaves open has no influence (a convention of spaces).
        """
        fixed = dict(zip(self.blocks[reader].decisions, choice, strict=True))
        block = self._block[name]
        own = tuple(fixed.get(decision, 0) for decision in self.blocks[block].decisions)
        known = self._shapes.get((name, own))
        if known is None:
            builder = GraphBuilder(name)
            shapes = [self._result_shape(earlier, block, own) for earlier in self.inputs_of(block)]
            inputs = [builder.input(f"input.{i}", shape) for i, shape in enumerate(shapes)]
            known = shape_of(self._emit(builder, block, own, inputs))
            self._shapes[name, own] = known
        return known

    @cached_property
    def _activity(self) -> tuple[npt.NDArray[np.int32], Population]:
        """Parent column of each decision (-1: none) and, by parent option, whether it is active.

        A decision is conditional if every block that reads it is present under the same decision.
        """
        parents = np.full(len(self.decisions), -1, dtype=np.int32)
        active = np.ones((len(self.decisions), 256), dtype=np.uint8)
        gates: dict[str, set[Presence | None]] = {}
        for block in self.blocks:
            for name in block.reads.values():
                gates.setdefault(name, set()).add(block.present)
        for name, found in gates.items():
            presences = [gate for gate in found if gate is not None]
            if None in found or len({gate.decision for gate in presences}) != 1:
                continue
            parent = self._column[presences[0].decision]
            minimum = min(gate.minimum for gate in presences)
            column = self._column[name]
            parents[column] = parent
            for index, option in enumerate(self.decisions[parent].options):
                assert isinstance(option, int)
                active[column, index] = option >= minimum
        return parents, active

    def _canonicalised_in_place(self, population: Population) -> Population:
        """Inactive decisions get option 0."""
        parents, active = self._activity
        _core.canonicalise(population, self.option_counts, parents, active)
        return population

    def _check(self) -> None:
        check_distinct(self.name, "block", [block.name for block in self.blocks])
        earlier: set[str] = set()
        for index, block in enumerate(self.blocks):
            missing = [name for name in block.decisions if name not in self._column]
            missing += [name for name in self.inputs_of(index) if name not in earlier]
            if missing:
                raise SpaceError(f"block {block.name!r} reads {missing[0]!r}, which is not there")
            if block.present is not None and not self.inputs_of(index):
                raise SpaceError(f"block {block.name!r} can be absent but has no input to pass on")
            self._check_gate(block)
            earlier.add(block.name)

    def _check_gate(self, block: ChoiceBlock) -> None:
        if block.present is None:
            return
        gate = block.present.decision
        options = self.decisions[self._column[gate]].options
        if not all(isinstance(option, int) for option in options):
            raise SpaceError(
                f"decision {gate!r} has options that are no numbers but gates a block"
            )
        for name in block.reads.values():
            if self._column[name] < self._column[gate]:
                raise SpaceError(f"decision {name!r} must come after {gate!r}, which gates it")
