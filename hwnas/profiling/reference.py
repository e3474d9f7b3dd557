"""The reference kernel: a fixed small network that tells how fast the machine is at the moment.

Measured between all other things and stored in the cost table, it brings what is measured today to
the speed at which the table was made.
"""

from hwnas.graph import Graph, GraphBuilder, kernel_key

__all__ = ["reference_graph", "reference_key"]

CHANNELS = 32
SIDE = 28
EXPANSION = 6


def reference_graph() -> Graph:
    """Expand, depthwise, project on 1x32x28x28: dense and memory-bound parts, 12 M MACs."""
    g = GraphBuilder("reference")
    x = g.input("input", (1, CHANNELS, SIDE, SIDE))
    with g.scope("reference"):
        y = g.relu(g.conv(x, EXPANSION * CHANNELS, 1, name="expand", bias=True))
        y = g.conv(y, EXPANSION * CHANNELS, 5, group=EXPANSION * CHANNELS, name="depthwise")
        y = g.conv(g.relu(y), CHANNELS, 1, name="project", bias=True)
        y = g.add(x, y)
    g.output(y, "output")
    return g.build()


def reference_key() -> str:
    """Key under which its cost stands in a table."""
    return kernel_key(reference_graph(), context="reference")
