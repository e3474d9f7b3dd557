"""How far the options of a decision disagree about the weights that they share.

Hu et al., Generalizing Few-Shot NAS with Gradient Matching, ICLR 2022. With the gradients g of one
batch under two options i and j of a decision, all else equal,

    D_ij = mean over filters f of 1 - cos(g_i^f, g_j^f)

where a filter is one entry of the first axis of a weight with two axes or more; scales and biases
are left out.

Differs from the paper: the weights of the decision's own block count as well, where both options
use them, because small options are parts of large ones here; of a filter only the entries that
both gradients reach are compared (a 3x3 kernel is silent about the border of a 7x7 one); the mean
over the filters stands for their sum, for two options may share more filters than two others.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hwnas.training.path_gradients import Gradients

__all__ = ["gradient_distances"]


def gradient_distances(gradients: Sequence[Gradients]) -> npt.NDArray[np.float64]:
    """Distances between options, `(k, k)`, symmetric, from 0 to 2, the diagonal 0.

    Options that share no filter have distance 0: there is nothing to disagree about.

    Args:
        gradients: Of each option, one entry per parameter.
    """
    found = np.zeros((len(gradients), len(gradients)))
    for i, j in combinations(range(len(gradients)), 2):
        found[i, j] = found[j, i] = _distance(gradients[i], gradients[j])
    return found


def _distance(first: Gradients, second: Gradients) -> float:
    total, filters = 0.0, 0
    for a, b in zip(first, second, strict=True):
        if a is None or b is None or a.ndim < 2:
            continue
        cosines = _filter_cosines(a.flatten(1).double(), b.flatten(1).double())
        total += float((1.0 - cosines).sum())
        filters += len(cosines)
    return total / filters if filters else 0.0


def _filter_cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of each row over the entries that both use; rows without any are left out."""
    used = (a != 0) & (b != 0)
    a, b = a * used, b * used
    lengths = a.norm(dim=1) * b.norm(dim=1)
    shared = lengths > 0
    cosines: Tensor = (a * b).sum(1)[shared] / lengths[shared]
    return cosines.clamp(-1.0, 1.0)
