"""The dataflow model by its definition: every kind of step of a loop nest, counted one by one.

The native library has closed forms (`hwnas._core.dataflow_costs`); they must agree with this in
every number. The accounting is that of MAESTRO (Kwon et al., Understanding Reuse, Performance, and
Hardware Cost of DNN Dataflows, MICRO 2019), whose rules, as its program applies them, are:

- A nest of loops runs over tiles. A temporal loop moves its tile by an offset; a spatial loop
  gives neighbouring tiles to neighbouring clusters. Each loop is at its first step (`init`), at
  one of the following (`steady`), or at a last one that is not full (`edge`).
- Between two steps one loop advances and those inside it start again. A tensor that the advancing
  loop does not index stays where it is, and costs nothing even if inner loops move it back.
- A tensor that it does index moves as a whole if a loop inside starts again and indexes it too,
  or else only by what is new: the offset, not the tile.
- Steps overlap with transfers (double buffering): a step takes the longest of computing, bringing
  in and taking out. Only the very first step waits for its operands.
- A transfer of n elements takes the hop latency and one cycle less than its beats of the network's
  bandwidth; multicast is free.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

__all__ = ["StepCosts", "loop_nest_costs", "nest_of"]

CLUSTER = 64  # PEs of a weight-stationary cluster
ROW = 8  # outputs in a row of an output-stationary cluster
FILTERS = 16  # filters in a PE of a row-stationary cluster


@dataclass(frozen=True)
class Loop:
    """One loop of a nest.

    Args:
        dim: What it runs over: K, C, Y, X, or the groups G.
        size: Elements of that dimension, at least `tile`.
        tile: Elements of a tile; input elements for Y and X.
        offset: By how much it advances.
        clusters: Of a spatial loop; 0 for a temporal one.
    """

    dim: str
    size: int
    tile: int
    offset: int
    clusters: int = 0


@dataclass(frozen=True)
class State:
    """Where one loop is.

    Args:
        position: `init`, `steady` or `edge`.
        count: Steps of this kind.
        active: Clusters at work (1 for a temporal loop).
        partial: Whether these are the clusters of a first step that does not fill the array.
        left: Elements of the last tile, for an `edge`.
    """

    position: str
    count: int
    active: int
    partial: bool
    left: int


@dataclass(frozen=True)
class StepCosts:
    """Cycles and what crosses the network between the shared buffer and the PEs.

    Args:
        cycles: Of the whole layer.
        input_reads: Elements of inputs read from the shared buffer.
        weight_reads: The same of weights.
        output_writes: Elements of (partial) results written to it.
        first_elements: Inputs, weights and results of the first step.
    """

    cycles: int
    input_reads: int
    weight_reads: int
    output_writes: int
    first_elements: int


def nest_of(dataflow: str, layer: Mapping[str, int], pes: int) -> tuple[list[Loop], int, int]:
    """Loops of a layer on an array, outermost first, and what a cluster does in one step.

    Args:
        dataflow: `dla`, `shi` or `rs`.
        layer: `K` and `C` of one group, `R`, `S`, `OY`, `OX`, `stride_y`, `stride_x`, `groups`,
            and `depthwise` (0 or 1).
        pes: Processing elements.

    Returns:
        The loops; cycles of computing in a cluster's step; elements brought to its PEs in it.
    """
    k, c, r, s = (layer[name] for name in "KCRS")
    sy, sx = layer["stride_y"], layer["stride_x"]
    rows, columns = (layer["OY"] - 1) * sy + r, (layer["OX"] - 1) * sx + s
    depthwise = bool(layer["depthwise"])
    filters = [] if depthwise else [k]
    groups = [Loop("G", layer["groups"], 1, 1)] if layer["groups"] > 1 else []
    if dataflow == "dla" and depthwise:
        loops = [Loop("C", c, 1, 1, pes), Loop("Y", rows, r, sy), Loop("X", columns, s, sx)]
        return loops, r * s, 0
    if dataflow == "dla":
        cluster = min(CLUSTER, pes)
        tile = min(cluster, c)
        loops = [
            *groups,
            Loop("K", k, 1, 1, pes // cluster),
            Loop("C", c, tile, tile),
            Loop("Y", rows, r, sy),
            Loop("X", columns, s, sx),
        ]
        return loops, r * s, tile * 2 * r * s
    if dataflow == "shi":
        width = min(ROW, layer["OX"], pes)
        loops = [
            *groups,
            *(Loop("K", size, 1, 1) for size in filters),
            Loop("C", c, 1, 1),
            Loop("Y", rows, r, sy, pes // width),
            Loop("X", columns, (width - 1) * sx + s, width * sx),
        ]
        return loops, r * s, width * r * s + r * s
    tile = min(FILTERS, k) if filters else 1
    loops = [
        *groups,
        Loop("Y", rows, r, sy, pes // r),
        Loop("X", columns, s, sx),
        Loop("C", c, 1, 1),
        *(Loop("K", size, tile, tile) for size in filters),
    ]
    return loops, tile * s, r * s + tile * r * s


def loop_nest_costs(
    dataflow: str, layer: Mapping[str, int], pes: int, bandwidth: int, hop_latency: int
) -> StepCosts:
    """Costs of one layer, by going through all kinds of steps."""
    loops, compute, inner = nest_of(dataflow, layer, pes)

    def transfer(elements: int) -> int:
        return hop_latency + -(-elements // bandwidth) - 1

    step = compute + (transfer(inner) if inner else 0)
    cycles = inputs = weights = outputs = first = 0
    for states in product(*(tuple(_states(loop)) for loop in loops)):
        count = prod(state.count for state in states)
        brought_in = _traffic(loops, states, "GCYX", 1)
        brought_weights = _traffic(loops, states, "GKC", layer["R"] * layer["S"])
        taken_out = _results(loops, states, layer)
        delay = max(step, transfer(brought_in + brought_weights), transfer(taken_out))
        if all(state.position == "init" for state in states):
            delay = step + transfer(brought_in + brought_weights)
            first = brought_in + brought_weights + taken_out
        cycles += count * delay
        inputs += count * brought_in
        weights += count * brought_weights
        outputs += count * taken_out
    return StepCosts(cycles, inputs, weights, outputs, first)


def _states(loop: Loop) -> Iterator[State]:
    if loop.clusters:
        tiles = (loop.size - loop.tile) // loop.offset + 1
        full, rest = divmod(tiles, loop.clusters)
        if not full:
            yield State("init", 1, rest, rest < loop.clusters, 0)
            return
        yield State("init", 1, loop.clusters, False, 0)
        if full > 1:
            yield State("steady", full - 1, loop.clusters, False, 0)
        if rest:
            yield State("edge", 1, rest, False, 0)
        return
    more = (loop.size - loop.tile) // loop.offset
    yield State("init", 1, 1, False, 0)
    if more:
        yield State("steady", more, 1, False, 0)
    left = loop.size - more * loop.offset - loop.tile
    if left:
        yield State("edge", 1, 1, False, loop.tile - loop.offset + left)


def _traffic(loops: list[Loop], states: tuple[State, ...], indexed: str, window: int) -> int:
    """Elements of a tensor that a step brings in over all clusters."""
    advancing = max((i for i, s in enumerate(states) if s.position != "init"), default=-1)
    if advancing >= 0 and loops[advancing].dim not in indexed:
        return 0
    restarted = any(loop.dim in indexed and _repeats(loop) for loop in loops[advancing + 1 :])
    elements = window
    for i, (loop, state) in enumerate(zip(loops, states, strict=True)):
        if loop.dim not in indexed:
            continue
        fresh = min(loop.tile, loop.offset)
        if not loop.clusters:
            only_new = i == advancing and not restarted
            elements *= fresh if only_new else loop.tile
            continue
        # Neighbours share what their tiles have in common, if they start or move together.
        overlapping = (i == advancing and not restarted) or -1 < advancing < i
        if not overlapping:
            elements *= state.active * loop.tile
        elif state.partial and state.active > 1 and loop.dim in ("Y", "X"):
            # The last cluster of an array that is not filled counts for nothing new.
            elements *= loop.tile + (state.active - 2) * fresh
        else:
            elements *= loop.tile + (state.active - 1) * fresh
    return elements


def _repeats(loop: Loop) -> bool:
    if loop.clusters:
        return (loop.size - loop.tile) // loop.offset + 1 > loop.clusters
    return loop.size > loop.tile


def _results(loops: list[Loop], states: tuple[State, ...], layer: Mapping[str, int]) -> int:
    """Elements of results that a step takes out over all clusters."""
    windows = {"Y": (layer["R"], layer["stride_y"]), "X": (layer["S"], layer["stride_x"])}
    elements = 1
    for loop, state in zip(loops, states, strict=True):
        if loop.dim == "C" and not layer["depthwise"]:
            continue
        tile = state.left if state.position == "edge" and not loop.clusters else loop.tile
        if loop.dim in windows:
            taps, stride = windows[loop.dim]
            tile = (tile - taps) // stride + 1
        elements *= tile * (state.active if loop.clusters else 1)
    return elements
