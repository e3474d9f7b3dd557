"""`mbconv-digits`: a small mobile space for 1x32x32 images, searched in minutes on any machine.

Three stages of one to three inverted residual blocks; every block chooses its kernel, expansion
and squeeze-excitation.
"""

from functools import partial

from hwnas.spaces.decisions import Decision
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.spaces.space import ChoiceBlock, Presence, SearchSpace

__all__ = ["mbconv_digits"]

STAGE_WIDTHS = (16, 24, 40)
STAGE_STRIDES = (1, 2, 2)
MAX_DEPTH = 3
CLASSES = 10


def mbconv_digits(resolution: int = 32) -> SearchSpace:
    """The space; `resolution` is the side of the square input in pixels."""
    decisions: list[Decision] = []
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=1, resolution=resolution)),
        ChoiceBlock("stem", partial(conv_unit, width=16, kernel=3, stride=2)),
    ]
    for stage, (width, stride) in enumerate(zip(STAGE_WIDTHS, STAGE_STRIDES, strict=True), 1):
        depth = f"stage{stage}.depth"
        decisions.append(Decision(depth, tuple(range(1, MAX_DEPTH + 1))))
        for position in range(1, MAX_DEPTH + 1):
            name = f"stage{stage}.{position}"
            reads = {part: f"{name}.{part}" for part in ("kernel", "expand", "squeeze_excite")}
            decisions += [
                Decision(reads["kernel"], (3, 5, 7)),
                Decision(reads["expand"], (3, 6)),
                Decision(reads["squeeze_excite"], (False, True)),
            ]
            emit = partial(inverted_residual, width=width, stride=stride if position == 1 else 1)
            present = Presence(depth, position) if position > 1 else None
            blocks.append(ChoiceBlock(name, emit, reads, present=present))
    blocks += [
        ChoiceBlock("head", partial(conv_unit, width=128)),
        ChoiceBlock("classifier", partial(classifier, classes=CLASSES)),
    ]
    return SearchSpace(
        "mbconv-digits" if resolution == 32 else f"mbconv-digits@{resolution}",
        tuple(decisions),
        tuple(blocks),
        "three stages of MBConv on 1x32x32 images: kernel, expansion, squeeze-excite, depth",
    )
