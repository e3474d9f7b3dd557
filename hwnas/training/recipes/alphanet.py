"""AlphaNet: the sandwich with distillation by an adaptive alpha-divergence.

Wang et al., AlphaNet: Improved Training of Supernets with Alpha-Divergence, ICML 2021. As BigNAS,
but soft cross-entropy lets a student be more uncertain than its teacher at a low price; here every
sample follows the larger of two divergences, one of which punishes that. Weights of the
divergence are clipped at 5, entries of the gradient at 1.

Differs from the released code: no dropout and no drop-connect, for the spaces declare none;
learning rate, warm-up, batch size and augmentation are this project's.
"""

import math
from dataclasses import replace

from torch import Tensor

from hwnas.training.divergence import adaptive_divergence_loss
from hwnas.training.options import TrainingOptions
from hwnas.training.recipe import Batch
from hwnas.training.recipes.sandwich import Sandwich

__all__ = ["AlphaNet"]


class AlphaNet(Sandwich):
    """The sandwich with the largest sub-net as teacher, followed by the adaptive divergence."""

    name = "alphanet"
    tasks = ("classification",)
    defaults = replace(
        TrainingOptions(),
        learning_rate=0.1,
        weight_decay=1e-5,
        gradient_clip=math.inf,
        gradient_clip_value=1.0,
    )

    def objective(
        self, index: int, logits: Tensor, teacher: Tensor | None, batch: Batch
    ) -> Tensor:
        """Labels for the largest, the divergence from its predictions for the others."""
        if teacher is None:
            return super().objective(index, logits, teacher, batch)
        return adaptive_divergence_loss(logits, teacher)
