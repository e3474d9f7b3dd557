"""BigNAS: one stage, the sandwich rule, in-place distillation.

Yu et al., BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models, ECCV 2020.
The largest sub-net learns from the labels, all others from its predictions on the same batch and
from nothing else; the learning rate falls exponentially to a constant ending; residual branches
start at zero; label smoothing regularises the largest alone, and so does weight decay, for every
step decays every weight of the largest once.

Differs from the paper: gradient descent with Nesterov's momentum in place of RMSProp; a warm-up;
no dropout and no skip paths between stages, for the spaces declare none.
"""

from dataclasses import replace

from torch import Tensor

from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch
from hwnas.training.recipes.sandwich import Sandwich

__all__ = ["BigNas"]


class BigNas(Sandwich):
    """The sandwich with the largest sub-net as teacher of the others."""

    name = "bignas"
    defaults = replace(TrainingOptions(), schedule="exponential", final_share=0.05)

    def objective(
        self, index: int, logits: Tensor, teacher: Tensor | None, batch: Batch
    ) -> Tensor:
        """Labels for the largest, its soft predictions for the others."""
        if teacher is None:
            return super().objective(index, logits, teacher, batch)
        return self.task.distillation(logits, teacher)
