"""`resnet9`: the small residual network of CIFAR-10's fast trainings, with filters and depth free.

Page, How to Train Your ResNet, 2018 (https://myrtle.ai/learn/how-to-train-your-resnet, first in
Stanford's DAWNBench): a first convolution, three stages that each convolve and halve the image,
and residual blocks of two convolutions behind some of them. Yang et al., Co-Exploration of Neural
Architectures and Heterogeneous ASIC Accelerator Designs Targeting Multiple Tasks (NASAIC), DAC
2020, search its filters and the number of residual blocks ("skips") of each stage.

Differs from Page: global average pooling in place of a last maximum; no scaling of the logits; of
a residual block the sum is rectified and not the branch (He et al., Deep Residual Learning, CVPR
2016), so that branches can start at zero and all depths of a supernet at the same scale.
"""

from functools import partial

import onnx_ir as ir

from hwnas.graph import GraphBuilder, shape_of
from hwnas.spaces.decisions import Decision
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.spaces.space import ChoiceBlock, Presence, SearchSpace

__all__ = ["resnet9"]

STEM_FILTERS = (16, 32, 64)
STAGE_FILTERS = ((32, 64, 128), (64, 128, 256), (64, 128, 256))
SKIPS = (0, 1, 2)
CHANNELS = 3
CLASSES = 10


def resnet9(resolution: int = 32) -> SearchSpace:
    """The space; `resolution` is the side of the square input in pixels."""
    decisions = [Decision("stem.filters", STEM_FILTERS)]
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=CHANNELS, resolution=resolution)),
        ChoiceBlock("stem", partial(conv_unit, kernel=3), {"width": "stem.filters"}),
    ]
    before = "stem.filters"
    for stage, options in enumerate(STAGE_FILTERS, 1):
        filters, skips = f"stage{stage}.filters", f"stage{stage}.skips"
        decisions += [Decision(filters, options), Decision(skips, SKIPS)]
        blocks.append(
            ChoiceBlock(f"stage{stage}", _reduce, {"width": filters}, shaped_by=(before,))
        )
        blocks += [
            ChoiceBlock(
                f"stage{stage}.{position}",
                _residual,
                present=Presence(skips, position),
                shaped_by=(filters,),
            )
            for position in SKIPS[1:]
        ]
        before = filters
    head = partial(classifier, classes=CLASSES)
    blocks.append(ChoiceBlock("classifier", head, shaped_by=(before,)))
    return SearchSpace(
        "resnet9" if resolution == 32 else f"resnet9@{resolution}",
        tuple(decisions),
        tuple(blocks),
        "ResNet-9 on 3x32x32 images, as NASAIC searches it: filters and residual blocks",
    )


def _reduce(g: GraphBuilder, x: ir.Value, *, width: int) -> ir.Value:
    """A convolution, and the largest value of every 2x2 pixels."""
    return g.max_pool(conv_unit(g, x, width=width, kernel=3), 2, stride=2, pad=0)


def _residual(g: GraphBuilder, x: ir.Value) -> ir.Value:
    """Two convolutions added to what went in, and rectified."""
    width = shape_of(x)[1]
    y = g.batch_norm(g.conv(x, width, 3, name="first"), name="first_norm")
    y = g.batch_norm(g.conv(g.relu(y), width, 3, name="second"), name="second_norm")
    return g.relu(g.add(y, x))
