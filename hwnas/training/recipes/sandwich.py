"""The sandwich rule with labels for all: largest, smallest and some random sub-nets a step.

Yu and Huang, Universally Slimmable Networks and Improved Training Techniques, ICCV 2019; the rule
without the distillation. When training is short, the largest sub-net is too weak a teacher and
labels serve all sub-nets better (mean validation error of 24 sub-nets of `mbconv-digits` of at
most half the work after 10 epochs of digits: 0.9 % against 1.7 % with distillation).
"""

from hwnas.datasets.dataset import TASK_NAMES
from hwnas.spaces import Architecture
from hwnas.training.recipe import Batch, Recipe

__all__ = ["Sandwich"]

RANDOM_PATHS = 2  # as BigNAS and AlphaNet use it: four networks a step


class Sandwich(Recipe):
    """Largest, smallest and `RANDOM_PATHS` uniform random sub-nets, all learning from labels."""

    name = "sandwich"
    tasks = TASK_NAMES

    def draw(self, batch: Batch) -> list[Architecture]:
        """The largest, the smallest, then the random ones."""
        del batch
        drawn = self.space.sample(RANDOM_PATHS, self.context.rng)
        largest, smallest = self.space.largest(), self.space.smallest()
        return [largest, smallest, *map(self.space.architecture, drawn)]
