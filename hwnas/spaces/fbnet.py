"""`fbnet`: the ImageNet space of FBNet; `fbnet-cifar`: its form for images of 32 x 32.

Wu et al., FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture
Search, CVPR 2019, table 1 (layers) and table 2 (operators): 22 searched layers, each one of nine
operators. An operator is a 1x1 convolution, a depthwise one and a second 1x1; with `g2` the 1x1
convolutions have two groups and channels are shuffled between them, as in ShuffleNet. A layer that
changes the shape cannot be left out: its `skip` is a 1x1 convolution with the layer's stride, as
in the authors' code and in the table of HW-NAS-Bench (Li et al., ICLR 2021).

`OPERATORS` is the order in which published tables number the operators. A layer's options are
ordered by their work in that layer (from 64 to 112 channels, `skip` is more work than `k3_e1_g2`),
so published numbers are mapped by name.

`fbnet-cifar` is what HW-NAS-Bench measured: the first convolution and the second stage keep the
image's side, the last convolution has 1504 channels, and there are 100 classes. That published
latencies are of these small images shows in them: taken for images of 224 x 224, the first layer
on a Raspberry Pi 4 would do 21 G multiply-accumulates a second and the next ones 6 G; taken for
these, both do 2 G.

The last convolution of `fbnet` has 1984 channels, as in the published networks B and C and in
HW-NAS-Bench; FBNet-A has 1504.
"""

from functools import partial

import onnx_ir as ir

from hwnas.graph import GraphBuilder, shape_of
from hwnas.spaces.decisions import Decision
from hwnas.spaces.inverted_residual import classifier, conv_unit, network_input
from hwnas.spaces.space import ChoiceBlock, SearchSpace

__all__ = ["OPERATORS", "fbnet", "fbnet_cifar"]

STAGE_WIDTHS = (16, 24, 32, 64, 112, 184, 352)
STAGE_DEPTHS = (1, 4, 4, 4, 4, 4, 1)
STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)
CIFAR_STRIDES = (1, 1, 2, 2, 1, 2, 1)
STEM_WIDTH = 16
HEAD_WIDTH = 1984
CIFAR_HEAD_WIDTH = 1504
SKIP = "skip"
_SHAPES = {  # kernel, expansion, groups
    "k3_e1": (3, 1, 1),
    "k3_e1_g2": (3, 1, 2),
    "k3_e3": (3, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1),
    "k5_e1_g2": (5, 1, 2),
    "k5_e3": (5, 3, 1),
    "k5_e6": (5, 6, 1),
}
OPERATORS = (*_SHAPES, SKIP)


def fbnet(resolution: int = 224) -> SearchSpace:
    """The space; `resolution` is the side of the square input in pixels."""
    return _space(
        "fbnet" if resolution == 224 else f"fbnet@{resolution}",
        resolution,
        2,
        STAGE_STRIDES,
        HEAD_WIDTH,
        1000,
        "FBNet's ImageNet space: 22 layers of 9 operators, kernel 3/5, expansion 1/3/6, or skip",
    )


def fbnet_cifar(resolution: int = 32) -> SearchSpace:
    """The space for small images; `resolution` is the side of the square input in pixels."""
    return _space(
        "fbnet-cifar" if resolution == 32 else f"fbnet-cifar@{resolution}",
        resolution,
        1,
        CIFAR_STRIDES,
        CIFAR_HEAD_WIDTH,
        100,
        "FBNet's space on 3x32x32 images, as in HW-NAS-Bench: 22 layers of 9 operators",
    )


def _space(
    name: str,
    resolution: int,
    stem_stride: int,
    strides: tuple[int, ...],
    head: int,
    classes: int,
    description: str,
) -> SearchSpace:
    decisions: list[Decision] = []
    stem = partial(conv_unit, width=STEM_WIDTH, kernel=3, stride=stem_stride)
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=3, resolution=resolution)),
        ChoiceBlock("stem", stem),
    ]
    channels, side = STEM_WIDTH, -(-resolution // stem_stride)
    stages = zip(STAGE_WIDTHS, STAGE_DEPTHS, strides, strict=True)
    for stage, (width, depth, first_stride) in enumerate(stages, 1):
        for position in range(1, depth + 1):
            stride = first_stride if position == 1 else 1
            work = partial(_macs, channels=channels, width=width, side=side, stride=stride)
            layer = f"stage{stage}.{position}"
            decisions.append(Decision(f"{layer}.operator", tuple(sorted(OPERATORS, key=work))))
            emit = partial(_layer, width=width, stride=stride)
            blocks.append(ChoiceBlock(layer, emit, {"operator": f"{layer}.operator"}))
            channels, side = width, -(-side // stride)
    blocks += [
        ChoiceBlock("head", partial(conv_unit, width=head)),
        ChoiceBlock("classifier", partial(classifier, classes=classes)),
    ]
    return SearchSpace(name, tuple(decisions), tuple(blocks), description)


def _layer(g: GraphBuilder, x: ir.Value, *, operator: str, width: int, stride: int) -> ir.Value:
    channels = shape_of(x)[1]
    keeps_shape = stride == 1 and channels == width
    if operator == SKIP:
        if keeps_shape:
            return x
        y = g.conv(x, width, 1, stride=stride, name="skip")
        return g.relu(g.batch_norm(y, name="skip_norm"))
    kernel, expand, groups = _SHAPES[operator]
    inner = channels * expand
    own = f"_g{groups}" if groups > 1 else ""  # grouped weights are no part of the others
    y = g.conv(x, inner, 1, group=groups, name=f"expand{own}")
    y = g.relu(g.batch_norm(y, name=f"expand_norm{own}"))
    if groups > 1:
        y = g.channel_shuffle(y, groups)
    y = g.conv(y, inner, kernel, stride=stride, group=inner, name=f"depthwise{own}")
    y = g.relu(g.batch_norm(y, name=f"depthwise_norm{own}"))
    y = g.conv(y, width, 1, group=groups, name=f"project{own}")
    y = g.batch_norm(y, name=f"project_norm{own}")
    return g.add(y, x) if keeps_shape else y


def _macs(operator: str, *, channels: int, width: int, side: int, stride: int) -> int:
    """Multiply-accumulates of an operator in a layer of `side` x `side` inputs."""
    out = (-(-side // stride)) ** 2
    if operator == SKIP:
        return 0 if stride == 1 and channels == width else channels * width * out
    kernel, expand, groups = _SHAPES[operator]
    inner = channels * expand
    return inner * (channels * side**2 + width * out) // groups + inner * kernel**2 * out
