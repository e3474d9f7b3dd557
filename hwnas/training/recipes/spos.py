"""Single Path One-Shot: one uniform random path a step, every candidate with its own weights.

Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, ECCV 2020.

The paper draws paths uniformly (`spos`). The released code draws a bin of operations uniformly and
then rejects paths outside of it (`spos-flops`), so that cheap and dear paths are trained as often
as those of middling cost.

Differs from the released code: batch norms are affine, as the spaces declare them; the learning
rate falls by a cosine; bins span the whole space, not 290 to 360 million operations, and after 500
rejected paths the nearest one is changed until it is in the bin, where the release takes any.
"""

from hwnas.datasets.dataset import TASK_NAMES
from hwnas.spaces import Architecture
from hwnas.supernet.separate import SeparateSupernet
from hwnas.supernet.supernet import Supernet
from hwnas.training.cost_bins import mac_bins
from hwnas.training.recipe import Batch, Recipe, TrainingContext

__all__ = ["Spos", "SposFlops"]


class Spos(Recipe):
    """Uniform sampling over separate candidates."""

    name = "spos"
    tasks = TASK_NAMES

    def make_supernet(self) -> Supernet:
        """Separate weights for every candidate."""
        return SeparateSupernet(
            self.space,
            self.context.generator,
            zero_residual_scale=self.options.zero_residual_scale,
        )


class SposFlops(Spos):
    """Bins of multiply-accumulate operations drawn uniformly, then a path of the bin.

    Raises:
        SpaceError: All networks of the space have the same number of operations.
    """

    name = "spos-flops"

    def __init__(self, context: TrainingContext) -> None:
        super().__init__(context)
        self._bins = mac_bins(self.space)

    def draw(self, batch: Batch) -> list[Architecture]:
        """One path of a uniform bin."""
        del batch
        rng = self.context.rng
        index = int(rng.integers(len(self._bins)))
        return [self.space.architecture(self._bins.sample(index, rng))]
