"""NAS-LID: few-shot splits where options give features of different dimensions.

He et al., NAS-LID: Efficient Neural Architecture Search with Local Intrinsic Dimension, AAAI 2023.
As `gm-nas`, with one minus the cosine of the options' signatures as distance: the local intrinsic
dimension of every layer, from a forward pass alone (`hwnas.training.intrinsic_dimension`).

Differs from the paper: distances are averaged over 2 random contexts, each with 128 images of its
own; a layer is a block of the space; the rest as listed for `gm-nas`.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from hwnas.spaces import Architecture
from hwnas.supernet.supernet import Supernet
from hwnas.training.intrinsic_dimension import layer_signature, signature_distances
from hwnas.training.recipes.gm_nas import GmNas
from hwnas.training.splitting import Distances

__all__ = ["NasLid"]

IMAGES = 128  # a batch of the paper


class NasLid(GmNas):
    """Members split between the options whose signatures are least alike."""

    name = "nas-lid"
    contexts: ClassVar[int] = 2

    def distances(self, member: Supernet, paths: Sequence[Architecture]) -> Distances:
        """Distances between sub-nets that differ in the option of one decision, `(k, k)`.

        Args:
            member: The supernet that they are in.
            paths: `k` sub-nets.
        """
        images, _ = self.training_images(IMAGES)
        run = map if self.context.executor is None else self.context.executor.map
        return signature_distances(
            list(run(partial(layer_signature, member, images=images), paths))
        )
