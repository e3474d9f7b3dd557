"""`nasbench201`: the cell space of NAS-Bench-201.

Dong and Yang, NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search, ICLR
2020. A cell has four nodes; every node is the sum of one operation on each earlier node. The
network is a 3x3 stem of 16 channels, three stages of five equal cells with 16, 32 and 64 channels,
a residual block of stride 2 between stages, and a linear classifier.

Decisions and options have the order of the published tables, so their architectures are rows of
this space; options do not go from least to most work. A node that keeps nothing is zero.
"""

from functools import partial

import onnx_ir as ir

from hwnas.graph import GraphBuilder, shape_of
from hwnas.spaces.decisions import Architecture, Decision
from hwnas.spaces.inverted_residual import classifier, network_input
from hwnas.spaces.space import ChoiceBlock, SearchSpace

__all__ = ["EDGES", "OPERATIONS", "NasBench201", "nasbench201"]

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""Source and destination of each decision's edge, in the order of architecture strings."""

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""In the published order; emitted sums keep it, so that equal sums have one key."""

NODES = 4
CELLS = 5
WIDTHS = (16, 32, 64)
CHANNELS = 3
CLASSES = 10
_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


class NasBench201(SearchSpace):
    """The space, in the published order of options."""

    @property
    def is_ordered(self) -> bool:
        """They are not: average pooling comes last."""
        return False

    def smallest(self) -> Architecture:
        """Every edge `none`."""
        return self._uniform("none")

    def largest(self) -> Architecture:
        """Every edge `nor_conv_3x3`."""
        return self._uniform("nor_conv_3x3")

    def _uniform(self, operation: str) -> Architecture:
        return Architecture(self.name, (OPERATIONS.index(operation),) * len(EDGES))


def nasbench201(resolution: int = 32) -> NasBench201:
    """The space; `resolution` is the side of the square input in pixels."""
    decisions = tuple(Decision(f"edge{source}{node}", OPERATIONS) for source, node in EDGES)
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=CHANNELS, resolution=resolution)),
        ChoiceBlock("stem", partial(_emit_stem, width=WIDTHS[0])),
    ]
    for stage, width in enumerate(WIDTHS):
        if stage:
            blocks.append(ChoiceBlock(f"reduction{stage}", partial(_emit_reduction, width=width)))
        for cell in range(CELLS):
            nodes = [blocks[-1].name]
            for node in range(1, NODES):
                reads = {f"source{s}": f"edge{s}{d}" for s, d in EDGES if d == node}
                name = f"stage{stage}.cell{cell}.node{node}"
                blocks.append(ChoiceBlock(name, _emit_node, reads, inputs=tuple(nodes)))
                nodes.append(name)
    blocks += [
        ChoiceBlock("last", _emit_last),
        ChoiceBlock("classifier", partial(classifier, classes=CLASSES)),
    ]
    return NasBench201(
        "nasbench201" if resolution == 32 else f"nasbench201@{resolution}",
        decisions,
        tuple(blocks),
        "NAS-Bench-201 on 3x32x32 images: 15 cells of four nodes, five operations",
    )


def _emit_stem(g: GraphBuilder, x: ir.Value, *, width: int) -> ir.Value:
    return g.batch_norm(g.conv(x, width, 3, name="conv"), name="norm")


def _emit_node(g: GraphBuilder, *nodes: ir.Value, **sources: str) -> ir.Value:
    chosen = sorted((OPERATIONS.index(sources[f"source{i}"]), i) for i in range(len(nodes)))
    total = None
    for operation, source in chosen:
        if OPERATIONS[operation] == "none":
            continue
        with g.scope(f"edge{source}"), g.scope(OPERATIONS[operation]):
            y = _emit_operation(g, nodes[source], OPERATIONS[operation])
        total = y if total is None else g.add(total, y)
    return g.zeros_like(nodes[0]) if total is None else total


def _emit_operation(g: GraphBuilder, x: ir.Value, operation: str) -> ir.Value:
    if operation == "skip_connect":
        return x
    if operation == "avg_pool_3x3":
        return g.average_pool(x, 3)
    return _convolved(g, x, shape_of(x)[1], _KERNELS[operation], "conv")


def _emit_reduction(g: GraphBuilder, x: ir.Value, *, width: int) -> ir.Value:
    """Two 3x3 convolutions, the first of stride 2, beside a 1x1 convolution of 2x2 means."""
    y = _convolved(g, x, width, 3, "first", stride=2)
    y = _convolved(g, y, width, 3, "second")
    beside = g.conv(g.average_pool(x, 2, stride=2, pad=0), width, 1, name="beside")
    return g.add(y, beside)


def _emit_last(g: GraphBuilder, x: ir.Value) -> ir.Value:
    return g.relu(g.batch_norm(x, name="norm"))


def _convolved(
    g: GraphBuilder, x: ir.Value, width: int, kernel: int, name: str, *, stride: int = 1
) -> ir.Value:
    """ReLU, convolution, batch norm."""
    y = g.conv(g.relu(x), width, kernel, name=name, stride=stride)
    return g.batch_norm(y, name=f"{name}_norm")
