"""Local intrinsic dimension of features, and the signature that it gives a sub-net.

Amsaleg et al., Estimating Local Intrinsic Dimensionality, KDD 2015; He et al., NAS-LID: Efficient
Neural Architecture Search with Local Intrinsic Dimension, AAAI 2023. With the distances
r_1 <= ... <= r_k of a sample to its nearest others,

    LID = -k / sum_j ln(r_j / r_k)

averaged over the batch, is about the number of dimensions in which the features spread. One number
for every layer, from a forward pass alone: options that give layers of like dimensions may share
weights.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.errors import DataError
from hwnas.spaces import Architecture
from hwnas.supernet.supernet import Supernet

__all__ = ["NEIGHBOURS", "layer_signature", "local_intrinsic_dimension", "signature_distances"]

NEIGHBOURS = 20  # as in the paper


def local_intrinsic_dimension(points: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """Mean local intrinsic dimension of points, at least 0.

    Points that coincide with all their neighbours count as 0, points that are equally far from
    all of them as the number of axes.

    Args:
        points: `(n, ...)`; all axes but the first are one.
        neighbours: Nearest others that are looked at; all others if there are fewer.

    Raises:
        DataError: There are fewer than 3 points.
    """
    if len(points) < 3:
        raise DataError(f"{len(points)} points have no intrinsic dimension; give 3 or more")
    k = min(neighbours, len(points) - 1)
    flat = points.flatten(1).double()  # distances come from a product of matrices, which cancels
    distances = torch.cdist(flat - flat.mean(0), flat - flat.mean(0)).fill_diagonal_(torch.inf)
    nearest = distances.topk(k, largest=False).values
    furthest = nearest.amax(1, keepdim=True)
    tiny = torch.finfo(torch.float64).tiny
    logarithms = (nearest / furthest.clamp(min=tiny)).clamp(min=tiny).log().sum(1)
    found = torch.where(logarithms < 0, -k / logarithms, float(flat.shape[1]))
    return float(torch.where(furthest.squeeze(1) > 0, found, 0.0).mean())


@torch.no_grad()
def layer_signature(
    supernet: Supernet,
    architecture: Architecture,
    images: Tensor,
    neighbours: int = NEIGHBOURS,
) -> npt.NDArray[np.float64]:
    """Local intrinsic dimension of every block's result but the input's, `(l,)`.

    Normalised by the batch, without gradients. An absent block repeats the entry of its input, so
    that all sub-nets of a space have as many.

    Args:
        supernet: One that is not split.
        architecture: The sub-net.
        images: `(n, c, h, w)`.
        neighbours: For the estimate.
    """
    results: list[Tensor] = []
    dimensions: list[float] = []
    for block in range(len(supernet.space.blocks)):
        sources = supernet.sources_of(block)
        choice = tuple(architecture.indices[c] for c in supernet.space.columns_of(block))
        plan = supernet.block_plan(block, choice)
        if not sources or plan.is_empty:
            results.append(results[sources[0]] if sources else images)
            dimensions.append(dimensions[sources[0]] if sources else 0.0)
            continue
        weights = supernet.block_weights(block, choice)
        result = plan([results[i] for i in sources], weights, training=True)[0]
        results.append(result)
        dimensions.append(local_intrinsic_dimension(result, neighbours))
    layers = [i for i in range(len(dimensions)) if supernet.sources_of(i)]
    return np.array([dimensions[i] for i in layers])


def signature_distances(
    signatures: Sequence[npt.NDArray[np.float64]],
) -> npt.NDArray[np.float64]:
    """One minus the cosine of each pair of signatures, `(k, k)`, from 0 to 1.

    Args:
        signatures: `(l,)` each, at least 0. One of zeros alone is at distance 1 from all others.
    """
    stacked = np.stack(signatures)
    lengths = np.linalg.norm(stacked, axis=1, keepdims=True)
    unit = stacked / np.where(lengths > 0, lengths, 1.0)
    found = 1.0 - np.clip(unit @ unit.T, 0.0, 1.0)
    np.fill_diagonal(found, 0.0)
    return np.asarray((found + found.T) / 2)
