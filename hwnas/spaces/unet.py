"""`unet`: U-Nets for segmentation, with their height and the filters of every level free.

Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015:
on the way down every level convolves twice and hands a map of half the side on; on the way up the
map from below is enlarged, put beside the level's own, and convolved twice again. Yang et al.,
Co-Exploration of Neural Architectures and Heterogeneous ASIC Accelerator Designs Targeting
Multiple Tasks (NASAIC), DAC 2020, search its height and filters.

Differs from Ronneberger: batch norm after every convolution; convolutions are padded, so that the
mask has the side of the image; one map of logits, positive for foreground.

`level<k>.down` exists from height k on, `level<k>.up` from height k + 1 on. Where `level<k>.up` is
absent it hands on what `level<k>.down` made: so the level above always reads `level<k>.up`.
"""

from functools import partial

import onnx_ir as ir

from hwnas.errors import SpaceError
from hwnas.graph import GraphBuilder
from hwnas.spaces.decisions import Decision
from hwnas.spaces.inverted_residual import network_input
from hwnas.spaces.space import ChoiceBlock, Presence, SearchSpace

__all__ = ["unet"]

LEVEL_FILTERS = ((4, 8, 16), (8, 16, 32), (16, 32, 64), (32, 64, 128), (64, 128, 256))
HEIGHT = len(LEVEL_FILTERS)
CHANNELS = 1
RESOLUTION = 128
DIVISOR = 2 ** (HEIGHT - 1)  # every level below the first halves the side


def unet(resolution: int = RESOLUTION) -> SearchSpace:
    """The space; `resolution` is the side of the square input in pixels.

    Raises:
        SpaceError: The side cannot be halved as often as the highest network does it.
    """
    if resolution % DIVISOR:
        raise SpaceError(
            f"unet@{resolution}: the image side is halved {HEIGHT - 1} times; give a multiple of "
            f"{DIVISOR}, such as unet@{max(DIVISOR, resolution // DIVISOR * DIVISOR)}"
        )
    filters = [f"level{level}.filters" for level in range(1, HEIGHT + 1)]
    decisions = [Decision("height", tuple(range(1, HEIGHT + 1)))]
    decisions += map(Decision, filters, LEVEL_FILTERS)
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=CHANNELS, resolution=resolution))
    ]
    for level, width in enumerate(filters, 1):
        first = level == 1
        blocks.append(
            ChoiceBlock(
                f"level{level}.down",
                partial(_down, halved=not first),
                {"width": width},
                present=None if first else Presence("height", level),
                shaped_by=() if first else (filters[level - 2],),
            )
        )
    for level in range(HEIGHT - 1, 0, -1):
        below = f"level{level + 1}.{'down' if level + 1 == HEIGHT else 'up'}"
        blocks.append(
            ChoiceBlock(
                f"level{level}.up",
                _up,
                {"width": filters[level - 1]},
                inputs=(f"level{level}.down", below),
                present=Presence("height", level + 1),
                shaped_by=(filters[level],),
            )
        )
    blocks.append(ChoiceBlock("mask", _mask, shaped_by=(filters[0],)))
    return SearchSpace(
        "unet" if resolution == RESOLUTION else f"unet@{resolution}",
        tuple(decisions),
        tuple(blocks),
        "U-Net on 1x128x128 images, as NASAIC searches it: height, and filters of every level",
    )


def _down(g: GraphBuilder, x: ir.Value, *, width: int, halved: bool) -> ir.Value:
    """Two convolutions, after the largest value of every 2x2 pixels below the first level."""
    return _twice(g, g.max_pool(x, 2, stride=2, pad=0) if halved else x, width)


def _up(g: GraphBuilder, x: ir.Value, below: ir.Value, *, width: int) -> ir.Value:
    """The map from below at twice its side, behind the level's own, convolved twice."""
    return _twice(g, g.concat([x, g.conv_transpose(below, width, 2, name="enlarge")]), width)


def _mask(g: GraphBuilder, x: ir.Value) -> ir.Value:
    """A logit for every pixel."""
    return g.conv(x, 1, 1, name="mask", bias=True)


def _twice(g: GraphBuilder, x: ir.Value, width: int) -> ir.Value:
    for name in ("first", "second"):
        x = g.relu(g.batch_norm(g.conv(x, width, 3, name=name), name=f"{name}_norm"))
    return x
