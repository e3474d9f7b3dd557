"""`ofa-mbv3`: the MobileNetV3 space of Once-for-All.

Cai et al., Once-for-All: Train One Network and Specialize It for Efficient Deployment, ICLR 2020:
five units of two to four blocks, kernel 3/5/7 and expansion 3/4/6 for every block, input side 128
to 224 in steps of 4. Squeeze-excitation and activation are fixed per unit, as in
MobileNetV3-Large. `ofa-mbv3@160` has images of that side alone, and no decision on it.
"""

from functools import partial

from hwnas.spaces.decisions import Decision
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.spaces.space import ChoiceBlock, Emit, Presence, SearchSpace

__all__ = ["ofa_mbv3"]

UNIT_WIDTHS = (24, 40, 80, 112, 160)
UNIT_STRIDES = (2, 2, 2, 1, 2)
UNIT_ACTIVATIONS = ("relu", "relu", "hard_swish", "hard_swish", "hard_swish")
UNIT_SQUEEZE_EXCITE = (False, True, False, True, True)
RESOLUTION = "resolution"
DEPTHS = (2, 3, 4)
RESOLUTIONS = tuple(range(128, 225, 4))


def ofa_mbv3(resolution: int | None = None) -> SearchSpace:
    """The space.

    Args:
        resolution: Side of the square input in pixels; None makes it a decision.
    """
    decisions: list[Decision] = []
    if resolution is None:
        decisions.append(Decision(RESOLUTION, RESOLUTIONS))
        source = partial(network_input, channels=3)
        blocks = [ChoiceBlock("input", source, {"resolution": RESOLUTION})]
    else:
        source = partial(network_input, channels=3, resolution=resolution)
        blocks = [ChoiceBlock("input", source)]
    shaped_by = () if resolution is not None else (RESOLUTION,)

    def fixed(name: str, emit: Emit) -> ChoiceBlock:
        return ChoiceBlock(name, emit, shaped_by=shaped_by)

    blocks += [
        fixed("stem", partial(conv_unit, width=16, kernel=3, stride=2, activation="hard_swish")),
        fixed("first", partial(inverted_residual, width=16, kernel=3, expand=1)),
    ]
    for unit, width in enumerate(UNIT_WIDTHS, 1):
        depth = f"unit{unit}.depth"
        decisions.append(Decision(depth, DEPTHS))
        for position in range(1, max(DEPTHS) + 1):
            name = f"unit{unit}.{position}"
            decisions += [
                Decision(f"{name}.kernel", (3, 5, 7)),
                Decision(f"{name}.expand", (3, 4, 6)),
            ]
            emit = partial(
                inverted_residual,
                width=width,
                stride=UNIT_STRIDES[unit - 1] if position == 1 else 1,
                activation=UNIT_ACTIVATIONS[unit - 1],
                squeeze_excite=UNIT_SQUEEZE_EXCITE[unit - 1],
            )
            reads = {part: f"{name}.{part}" for part in ("kernel", "expand")}
            present = Presence(depth, position) if position > min(DEPTHS) else None
            blocks.append(ChoiceBlock(name, emit, reads, present=present, shaped_by=shaped_by))
    blocks += [
        fixed("head", partial(conv_unit, width=960, activation="hard_swish")),
        fixed("classifier", partial(classifier, classes=1000, mix=1280)),
    ]
    return SearchSpace(
        "ofa-mbv3" if resolution is None else f"ofa-mbv3@{resolution}",
        tuple(decisions),
        tuple(blocks),
        "Once-for-All's MobileNetV3 space: elastic kernel, expansion, depth"
        + (" and resolution" if resolution is None else ""),
    )
