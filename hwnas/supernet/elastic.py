"""The elastic supernet: small choices are parts of the large ones.

Every weight name of a block is one shared tensor, as large as the largest that any choice of the
block declares under that name. A sub-net takes the prefix along channel axes and the centre of the
two spatial axes of a kernel; a stage of depth d runs its first d blocks (Cai et al., Once-for-All,
ICLR 2020; Yu et al., BigNAS, ECCV 2020).

Differs from Once-for-All: a smaller kernel is the plain centre crop, as in BigNAS.
"""

from hwnas.supernet.supernet import Choice, Supernet

__all__ = ["ElasticSupernet"]


class ElasticSupernet(Supernet):
    """A supernet in which all choices of a block share one set of weights."""

    sharing = "elastic"

    def stored_name(self, block: int, choice: Choice, local: str) -> str:
        """`block/name`: one for all choices."""
        del choice
        return f"{self.space.blocks[block].name}/{local}"
