"""`proxyless-mobile`: the ImageNet space of ProxylessNAS.

Cai et al., ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware, ICLR 2019:
21 searchable blocks, each MBConv with kernel 3, 5 or 7 and expansion 3 or 6, or a skip where the
block keeps its shape.
"""

from functools import partial

from hwnas.spaces.decisions import Decision
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.spaces.space import ChoiceBlock, SearchSpace

__all__ = ["proxyless_mobile"]

STAGE_WIDTHS = (24, 40, 80, 96, 192, 320)
STAGE_DEPTHS = (4, 4, 4, 4, 4, 1)
STAGE_STRIDES = (2, 2, 2, 1, 2, 1)
OPERATORS = ((3, 3), (5, 3), (7, 3), (3, 6), (5, 6), (7, 6))
SKIP: tuple[int, ...] = ()


def proxyless_mobile(resolution: int = 224) -> SearchSpace:
    """The space; `resolution` is the side of the square input in pixels."""
    decisions: list[Decision] = []
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=3, resolution=resolution)),
        ChoiceBlock("stem", partial(conv_unit, width=32, kernel=3, stride=2, activation="relu6")),
        ChoiceBlock(
            "first",
            partial(inverted_residual, width=16, kernel=3, expand=1, activation="relu6"),
        ),
    ]
    stages = zip(STAGE_WIDTHS, STAGE_DEPTHS, STAGE_STRIDES, strict=True)
    for stage, (width, depth, stride) in enumerate(stages, 1):
        for position in range(1, depth + 1):
            name = f"stage{stage}.{position}"
            options = OPERATORS if position == 1 else (SKIP, *OPERATORS)
            decisions.append(Decision(f"{name}.operator", options))
            emit = partial(
                inverted_residual,
                width=width,
                kernel=0,
                expand=0,
                stride=stride if position == 1 else 1,
                activation="relu6",
            )
            blocks.append(ChoiceBlock(name, emit, {"operator": f"{name}.operator"}))
    blocks += [
        ChoiceBlock("head", partial(conv_unit, width=1280, activation="relu6")),
        ChoiceBlock("classifier", partial(classifier, classes=1000)),
    ]
    return SearchSpace(
        "proxyless-mobile" if resolution == 224 else f"proxyless-mobile@{resolution}",
        tuple(decisions),
        tuple(blocks),
        "ProxylessNAS's ImageNet space: 21 MBConv blocks, kernel 3/5/7, expansion 3/6, or skip",
    )
