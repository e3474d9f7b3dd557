"""Supernets: all networks of a space in one set of weights.

How choices share their weights is the subclass's affair (`ElasticSupernet`, `SeparateSupernet`,
...); running a sub-net, recalibrating its batch norms and cutting out its weights is the same for
all and stands here. Nothing about a block is written here: blocks come from the space.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hwnas.datasets.image_size import fit_images
from hwnas.errors import SpaceError
from hwnas.graph import Graph, Shape, shape_of
from hwnas.lowering.torch_module import Normalise, TorchPlan
from hwnas.lowering.torch_operators import Normalisation
from hwnas.spaces import Architecture, SearchSpace
from hwnas.supernet.calibration import CALIBRATION_BATCH, Statistics, average_statistics
from hwnas.supernet.concatenated import Parts, concatenated_weights, pieces_of, widest_parts
from hwnas.supernet.view import View, part_of, sub_slices

__all__ = ["EVALUATION_BATCH", "Choice", "Supernet", "initial_weight"]

EVALUATION_BATCH = 64  # images in one pass: larger ones leave the cache and are slower on CPU
Choice = tuple[int, ...]
"""Option indices of a block's own decisions, in the order of its slots."""


class _Binding(NamedTuple):
    """What runs for one choice of one block."""

    plan: TorchPlan
    views: tuple[View, ...]


class Supernet(nn.Module):
    """All networks of a space in one set of weights; subclasses say who shares what.

    There are no shared running statistics: a sub-net is normalised by its batch, or by statistics
    that `calibrate` made for it and for nothing else.

    Args:
        space: The space; exactly one block declares an input.
        generator: Source of the initial weights: kernels with variance 2 / fan-in (He et al.,
            2015), scales 1, biases 0.
        zero_residual_scale: Start every residual branch at zero, as BigNAS does.

    Raises:
        SpaceError: The space has no input block or several.
    """

    sharing: ClassVar[str]
    """Name of the way of sharing, kept in checkpoints."""

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        zero_residual_scale: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        sources = [i for i in range(len(space.blocks)) if not space.inputs_of(i)]
        if len(sources) != 1:
            raise SpaceError(
                f"{space.name} has {len(sources)} blocks that declare inputs; a supernet takes 1"
            )
        self._input = sources[0]
        self._columns = [space.columns_of(i) for i in range(len(space.blocks))]
        order = {block.name: i for i, block in enumerate(space.blocks)}
        self._sources = [
            tuple(order[name] for name in space.inputs_of(i)) for i in range(len(space.blocks))
        ]
        self._plans: dict[int, TorchPlan] = {}
        self._bindings: dict[tuple[int, Choice], _Binding] = {}
        self._names: dict[str, str] = {}
        self._parts: dict[str, Parts] = {}
        shapes, residual = self._stored_shapes()
        for name, shape in shapes.items():
            value = initial_weight(name, shape, generator)
            if zero_residual_scale and name in residual:
                value.zero_()
            self._names[name] = name.replace(".", ":")  # torch keeps the dot for nested modules
            self.register_parameter(self._names[name], nn.Parameter(value))

    # What subclasses decide --------------------------------------------------------------------

    def stored_name(self, block: int, choice: Choice, local: str) -> str:
        """Name of the stored weight that one choice of a block takes a weight from.

        Args:
            block: Index of the block.
            choice: Option indices of its decisions.
            local: Name of the weight in the block.
        """
        raise NotImplementedError

    def cut(self, view: View) -> Tensor:
        """The weight of a sub-net, cut from the stored one."""
        return part_of(view.parameter, view)

    def structure(self) -> dict[str, Any]:
        """What beside the space fixes which weights there are; numbers, strings, lists, dicts."""
        return {}

    @classmethod
    def from_structure(cls, space: SearchSpace, structure: Mapping[str, Any]) -> Self:
        """A supernet of that structure, to be filled from a checkpoint.

        Raises:
            RunError: The structure does not fit the space.
        """
        del structure
        return cls(space)

    # Running -----------------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        architecture: Architecture,
        *,
        statistics: Mapping[str, Tensor] | None = None,
        normalise: Normalise | None = None,
    ) -> Tensor:
        """Result of one sub-net, `(n, classes)`.

        Args:
            x: Images `(n, c, h, w)`; scaled to the side that the sub-net takes.
            architecture: The sub-net.
            statistics: Its own running statistics; without them every batch normalisation uses
                the statistics of this batch.
            normalise: Stands in for every batch normalisation; names are prefixed by the block.

        Raises:
            SpaceError: The architecture is of another space.
        """
        results: list[Tensor] = []
        if self._columns[self._input]:
            x = fit_images(x, self.image_side(architecture))
        for block, binding in enumerate(self._path(architecture)):
            inputs = [results[i] for i in self._sources[block]] or [x]
            plan, views = binding
            if plan.is_empty:
                results.append(plan(inputs, {})[0])
                continue
            weights = {view.local: self.cut(view) for view in views}
            prefix = self.space.blocks[block].name
            inner = None if normalise is None else _prefixed(normalise, prefix)
            if statistics is not None and inner is None:
                for name in plan.statistics:
                    weights[name] = statistics[f"{prefix}/{name}"]
            training = statistics is None
            results.append(plan(inputs, weights, training=training, normalise=inner)[0])
        return results[-1]

    def calibrate(
        self, architecture: Architecture, images: Tensor, *, batch_size: int = CALIBRATION_BATCH
    ) -> Statistics:
        """Running statistics of one sub-net, by the names that its network gives them.

        The shared weights are not touched; see `average_statistics`.

        Args:
            architecture: The sub-net.
            images: `(n, c, h, w)`, from the training split.
            batch_size: Images in one pass.
        """
        return average_statistics(
            lambda batch, record: self(batch, architecture, normalise=record), images, batch_size
        )

    @torch.no_grad()
    def logits(
        self,
        architecture: Architecture,
        images: Tensor,
        statistics: Mapping[str, Tensor],
        *,
        batch_size: int = EVALUATION_BATCH,
    ) -> Tensor:
        """Result of one sub-net under its own statistics, `(n, classes)`.

        Args:
            architecture: The sub-net.
            images: `(n, c, h, w)`.
            statistics: From `calibrate`.
            batch_size: Images in one pass.
        """
        batches = torch.split(images, batch_size)
        return torch.cat([self(batch, architecture, statistics=statistics) for batch in batches])

    def weights(
        self, architecture: Architecture, statistics: Mapping[str, Tensor] | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Copies of the weights that `space.network(architecture)` declares, by the same names.

        Args:
            architecture: The sub-net.
            statistics: Its running statistics, from `calibrate`. Without them means are 0 and
                variances 1: good for timing, useless for accuracy.
        """
        found: dict[str, npt.NDArray[np.float32]] = {}
        for block, (plan, views) in enumerate(self._path(architecture)):
            prefix = self.space.blocks[block].name
            for view in views:
                found[f"{prefix}/{view.local}"] = self.cut(view).detach().cpu().numpy().copy()
            for which in plan.normalisations:
                for local, neutral in ((which.mean, 0.0), (which.variance, 1.0)):
                    name = f"{prefix}/{local}"
                    if statistics is None:
                        shape = plan.weight_shapes[local]
                        found[name] = np.full(shape, neutral, dtype=np.float32)
                    else:
                        found[name] = statistics[name].detach().cpu().numpy().copy()
        return found

    def block_plan(self, block: int, choice: Choice) -> TorchPlan:
        """What a block runs for one choice; empty where it hands its input through."""
        return self._binding(block, choice).plan

    def block_weights(self, block: int, choice: Choice) -> dict[str, Tensor]:
        """Trained weights of a block for one choice, by their names in the block."""
        return {view.local: self.cut(view) for view in self._binding(block, choice).views}

    def block_views(self, block: int, choice: Choice) -> tuple[View, ...]:
        """How the trained weights of a block are cut for one choice."""
        return self._binding(block, choice).views

    def image_side(self, architecture: Architecture) -> tuple[int, int]:
        """Height and width of the images that a sub-net takes."""
        choice = tuple(architecture.indices[column] for column in self._columns[self._input])
        _, _, height, width = shape_of(self.space.fragment(self._input, choice).graph.outputs[0])
        return height, width

    def sources_of(self, block: int) -> tuple[int, ...]:
        """Indices of the blocks whose results a block takes; none for the input block."""
        return self._sources[block]

    def choices(self, block: int) -> Iterator[Choice]:
        """Choices of a block that can have weights of their own.

        Decisions that reach a block only through the shapes of its inputs stand at their last
        option: by the convention of spaces it brings the most channels, and the size of an image
        shapes no weight.
        """
        declared = self.space.blocks[block]
        fixed = [
            position
            for position, name in enumerate(declared.decisions)
            if name in declared.shaped_by and name not in declared.reads.values()
        ]
        last = [int(self.space.option_counts[c]) - 1 for c in self._columns[block]]
        for choice in self.space.slots(block):
            if all(choice[position] == last[position] for position in fixed):
                yield choice

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """The stored weights by name."""
        return {name: getattr(self, attribute) for name, attribute in self._names.items()}

    # Private -----------------------------------------------------------------------------------

    def _path(self, architecture: Architecture) -> list[_Binding]:
        if architecture.space != self.space.name:
            raise SpaceError(
                f"architecture of {architecture.space!r} given to a supernet of "
                f"{self.space.name!r}"
            )
        indices = architecture.indices
        return [
            self._binding(block, tuple([indices[column] for column in columns]))
            for block, columns in enumerate(self._columns)
        ]

    def _binding(self, block: int, choice: Choice) -> _Binding:
        known = self._bindings.get((block, choice))
        if known is None:
            graph = self.space.fragment(block, choice).graph
            plan, parts = self._plan(graph), concatenated_weights(graph)
            views = []
            for local, shape in plan.weight_shapes.items():
                if local not in plan.statistics:
                    stored = self.stored_name(block, choice, local)
                    parameter = getattr(self, self._names[stored])
                    pieces = pieces_of(self._parts[stored], parts.get(local, {}))
                    # Axes of which pieces are taken are whole until then.
                    whole = {axis: parameter.shape[axis] for axis, _ in pieces}
                    taken = tuple(whole.get(axis, side) for axis, side in enumerate(shape))
                    slices = sub_slices(parameter.shape, taken)
                    views.append(View(local, parameter, slices, pieces))
            known = self._bindings[block, choice] = _Binding(plan, tuple(views))
        return known

    def _plan(self, graph: Graph) -> TorchPlan:
        # The space keeps its fragments, so the identity of a graph stays valid with it.
        known = self._plans.get(id(graph))
        if known is None:
            known = self._plans[id(graph)] = TorchPlan(graph)
        return known

    def _stored_shapes(self) -> tuple[dict[str, Shape], set[str]]:
        """Largest shape of every stored weight, and the scales that end a residual branch."""
        shapes: dict[str, Shape] = {}
        residual: set[str] = set()
        for index in range(len(self.space.blocks)):
            seen: set[tuple[int, str]] = set()
            for choice in self.choices(index):
                graph = self.space.fragment(index, choice).graph
                mark = (id(graph), self.stored_name(index, choice, ""))
                if mark in seen:
                    continue
                seen.add(mark)
                plan, parts = self._plan(graph), concatenated_weights(graph)
                residual |= {
                    self.stored_name(index, choice, local) for local in _residual_scales(graph)
                }
                for local, shape in plan.weight_shapes.items():
                    if local in plan.statistics:
                        continue
                    name = self.stored_name(index, choice, local)
                    known = shapes.get(name, shape)
                    if len(known) != len(shape):
                        raise SpaceError(
                            f"weight {name!r} has {len(known)} axes in one choice and "
                            f"{len(shape)} in another: it cannot be shared"
                        )
                    room = widest_parts(name, self._parts.get(name), parts.get(local))
                    self._parts[name] = room
                    shapes[name] = tuple(
                        sum(room[axis]) if axis in room else max(sides)
                        for axis, sides in enumerate(zip(known, shape, strict=True))
                    )
        return shapes, residual


def initial_weight(name: str, shape: Shape, generator: torch.Generator | None) -> Tensor:
    """A weight before training; see `Supernet`."""
    if len(shape) > 1:
        gain = 2.0 if len(shape) == 4 else 1.0  # a matrix is not followed by a rectifier
        return torch.randn(shape, generator=generator) * math.sqrt(gain / math.prod(shape[1:]))
    return torch.ones(shape) if name.endswith("/scale") else torch.zeros(shape)


def _residual_scales(graph: Graph) -> set[str]:
    found = set()
    for node in graph.nodes:
        if node.op_type == "Add":
            for value in node.inputs:
                producer = None if value is None else value.producer()
                if producer is not None and producer.op_type == "BatchNormalization":
                    scale = producer.inputs[1]
                    found.add((scale.name or "") if scale is not None else "")
    return found


def _prefixed(normalise: Normalise, prefix: str) -> Normalise:
    def inner(which: Normalisation, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        named = Normalisation(f"{prefix}/{which.mean}", f"{prefix}/{which.variance}", *which[2:])
        return normalise(named, x, scale, bias)

    return inner
