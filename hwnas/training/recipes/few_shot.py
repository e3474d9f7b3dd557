"""Few-shot NAS: a few supernets, each for a part of the space, in place of one for all.

Zhao et al., Few-shot Neural Architecture Search, ICML 2021. After a third of the epochs the
supernet is split in two, and after two thirds each half in two again: four members, which start
from the weights of the whole that they come from. One uniform random path of one random member is
trained a step. This is the baseline of `gm-nas` and `nas-lid`: what is split is left to chance.

Differs from the paper: the options of a random decision are halved at random, twice, in place of
one member for every option of one decision, so that all three recipes have as many members;
options share weights inside a member; members are drawn with equal probability in every step.
"""

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from hwnas.errors import RunError
from hwnas.spaces import Architecture
from hwnas.supernet.split import Part, SplitSupernet
from hwnas.supernet.supernet import Supernet
from hwnas.training.recipe import Batch, Recipe
from hwnas.training.splitting import Halves, random_halves, split_supernet

__all__ = ["FewShot"]

log = logging.getLogger(__name__)


class FewShot(Recipe):
    """Members split at random; subclasses choose what is split."""

    name = "few-shot"
    levels: ClassVar[int] = 2
    """How often all members are split, at equal distances over the epochs."""

    def halve(self, member: Supernet, part: Part) -> Halves:
        """How a member's part is split in two."""
        del member
        return random_halves(part, self.context.rng)

    def begin_epoch(self, epoch: int) -> bool:
        """Split when a share of the epochs is over that calls for it."""
        epochs = self.options.epochs
        due = [epochs * level // (self.levels + 1) for level in range(1, self.levels + 1)]
        if epoch not in due:
            return False
        if epoch == 0:
            log.warning("%d epochs are too few: %s splits before training", epochs, self.name)
        self.supernet = split_supernet(self.supernet, self.halve, due.count(epoch))
        return True

    def draw(self, batch: Batch) -> list[Architecture]:
        """One uniform random path of a random member."""
        if not isinstance(self.supernet, SplitSupernet):
            return super().draw(batch)
        parts = self.supernet.parts
        part = parts[self.context.rng.integers(len(parts))]
        return [self.space.architecture(part.rows(1, self.context.rng)[0])]

    def state(self) -> dict[str, Any]:
        """The parts and the members' structure, once there are any."""
        if not isinstance(self.supernet, SplitSupernet):
            return {}
        return {"split": self.supernet.structure()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set up the members.

        Raises:
            RunError: The state is of another form, or not of this space.
        """
        if "split" not in state:
            return
        if not isinstance(state["split"], Mapping):
            raise RunError("the checkpoint's recipe state is damaged; delete it to start anew")
        split = SplitSupernet.from_structure(self.space, state["split"])
        self.supernet = split.to(self.context.device)
