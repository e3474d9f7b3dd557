"""The over-parameterised supernet: every candidate of a block has its own weights.

Guo et al., Single Path One-Shot, ECCV 2020; Cai et al., ProxylessNAS, ICLR 2019. A candidate is
one combination of the options that a block reads; whether the block is there at all, and the size
of its image, make no new candidate.
"""

from hwnas.supernet.supernet import Choice, Supernet

__all__ = ["SeparateSupernet"]


class SeparateSupernet(Supernet):
    """A supernet in which the candidates of a block share nothing."""

    sharing = "separate"

    def stored_name(self, block: int, choice: Choice, local: str) -> str:
        """`block/options/name`, such as `stage1.2/0-1-0/expand/weight`."""
        declared = self.space.blocks[block]
        chosen = dict(zip(declared.decisions, choice, strict=True))
        candidate = "-".join(str(chosen[name]) for name in declared.reads.values())
        return "/".join(part for part in (declared.name, candidate, local) if part)
