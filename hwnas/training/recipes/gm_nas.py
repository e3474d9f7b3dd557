"""GM-NAS: few-shot splits where the gradients of options disagree.

Hu et al., Generalizing Few-Shot NAS with Gradient Matching, ICLR 2022. Each split takes the
decision whose options pull shared weights in the most different directions, and keeps options
together that pull alike (`hwnas.training.gradient_matching`, `hwnas.training.splitting`). Two
levels of splits after a third and two thirds of the epochs, as on NAS-Bench-201 in the paper.

Differs from the paper: members go on from the inherited weights after the last split (the paper
starts anew there); distances are averaged over 4 contexts and batches (100 in the paper); base
training is one uniform random path of a random member a step.

Few contexts are enough: on `mbconv-digits` after 6 epochs of digits, each of six single contexts
chose the first kernel of stage 2 (four times) or of stage 3 (twice), and the same halves.
"""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hwnas.spaces import Architecture
from hwnas.supernet.split import Part
from hwnas.supernet.supernet import Supernet
from hwnas.training.gradient_matching import gradient_distances
from hwnas.training.path_gradients import path_gradients
from hwnas.training.recipes.few_shot import FewShot
from hwnas.training.splitting import Distances, Halves, most_distant_halves

__all__ = ["GmNas"]


class GmNas(FewShot):
    """Members split between the options whose gradients match least."""

    name = "gm-nas"
    contexts: ClassVar[int] = 4
    """Random contexts, each with a batch of its own, that distances are averaged over."""

    def halve(self, member: Supernet, part: Part) -> Halves:
        """The decision and the halves with the largest distance between them."""
        measure = partial(self.distances, member)
        return most_distant_halves(part, measure, self.contexts, self.context.rng)

    def distances(self, member: Supernet, paths: Sequence[Architecture]) -> Distances:
        """Distances between sub-nets that differ in the option of one decision, `(k, k)`.

        Args:
            member: The supernet that they are in.
            paths: `k` sub-nets.
        """
        images, labels = self.training_images(self.options.batch_size)
        gradients, _ = path_gradients(
            member,
            paths,
            images,
            lambda _index, logits, _teacher: functional.cross_entropy(logits, labels),
            executor=self.context.executor,
        )
        return gradient_distances(gradients)

    def training_images(self, count: int) -> tuple[Tensor, Tensor]:
        """Random training images, augmented, `(n, c, h, w)`, and their labels `(n,)`.

        Args:
            count: How many; all of them if there are fewer.
        """
        dataset, generator = self.context.dataset, self.context.generator
        chosen = torch.randperm(len(dataset.x_train), generator=generator)[:count].numpy()
        images = torch.from_numpy(dataset.x_train[chosen]).to(self.context.device)
        if self.options.augmentation is not None:
            images = self.options.augmentation(images, generator)
        return images, torch.from_numpy(dataset.y_train[chosen]).to(self.context.device)
