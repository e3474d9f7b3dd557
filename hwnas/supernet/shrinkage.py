"""What each option of a space takes away from the largest network: kernel, depth, channels.

Progressive shrinking treats the three in turn. What an option shrinks follows from its effect on
the weights of the blocks that read it, not from the name of its decision; an operator that is one
option among many may shrink several things at once.
"""

from typing import NamedTuple

from hwnas.graph import Shape, shape_of
from hwnas.spaces import SearchSpace

__all__ = ["UNLIMITED", "Shrinkage", "option_shrinkage", "options_within"]

UNLIMITED = 255  # a decision has at most as many options


class Shrinkage(NamedTuple):
    """How many steps smaller than the largest an option is, in each respect.

    Args:
        kernel: Steps down among the kernel sizes of the decision.
        depth: Steps down among the numbers of blocks.
        channels: Steps down among the numbers of channels.
    """

    kernel: int = 0
    depth: int = 0
    channels: int = 0


def option_shrinkage(space: SearchSpace) -> tuple[tuple[Shrinkage, ...], ...]:
    """Shrinkage of every option of every decision, all others at their largest.

    Options that shrink nothing, such as those of squeeze-and-excitation or of the image side, have
    0 throughout.

    Args:
        space: The space.
    """
    found = []
    for column, decision in enumerate(space.decisions):
        effects = [_effect(space, column, option) for option in range(len(decision.options))]
        steps = [_steps(values) for values in zip(*effects, strict=True)]
        found.append(tuple(Shrinkage(*levels) for levels in zip(*steps, strict=True)))
    return tuple(found)


def options_within(
    shrinkage: tuple[tuple[Shrinkage, ...], ...], limits: Shrinkage
) -> tuple[tuple[int, ...], ...]:
    """Option indices of every decision that shrink nothing beyond the limits.

    Args:
        shrinkage: From `option_shrinkage`.
        limits: Most steps in each respect. If all are 0, only the largest option is left, also of
            decisions that shrink nothing.
    """
    if not any(limits):
        return tuple((len(options) - 1,) for options in shrinkage)
    return tuple(
        tuple(
            index
            for index, option in enumerate(options)
            if all(step <= limit for step, limit in zip(option, limits, strict=True))
        )
        for options in shrinkage
    )


def _effect(space: SearchSpace, column: int, option: int) -> tuple[float, float, float]:
    """Shares of the largest kernel, of the blocks and of the channels that an option leaves."""
    name = space.decisions[column].name
    kernel = channels = 1.0
    absent = readers = 0
    for block, declared in enumerate(space.blocks):
        gate = None if declared.present is None else declared.present.decision
        if name != gate and name not in declared.reads.values():
            continue
        largest = [int(space.option_counts[c]) - 1 for c in space.columns_of(block)]
        chosen = [
            option if c == column else last
            for c, last in zip(space.columns_of(block), largest, strict=True)
        ]
        whole = _shapes(space, block, tuple(largest))
        part = _shapes(space, block, tuple(chosen))
        readers += 1
        if whole and not part:
            absent += 1
            continue
        for local in whole.keys() & part.keys():
            full, cut = whole[local], part[local]
            if len(full) == len(cut) == 4:
                kernel = min(kernel, cut[2] * cut[3] / (full[2] * full[3]))
            channels = min(channels, *(c / f for c, f in zip(cut[:2], full[:2], strict=True)))
    return kernel, 1.0 - absent / max(readers, 1), channels


def _shapes(space: SearchSpace, block: int, choice: tuple[int, ...]) -> dict[str, Shape]:
    weights = space.fragment(block, choice).graph.weights
    return {name: shape_of(value) for name, value in weights.items()}


def _steps(values: tuple[float, ...]) -> list[int]:
    """Place of each value among the distinct ones, the largest first."""
    distinct = sorted(set(values), reverse=True)
    return [distinct.index(value) for value in values]
