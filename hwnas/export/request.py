"""What an exporter is given, and what it gives back."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwnas.export.receipt import ReceiptFacts
from hwnas.lowering import Weights
from hwnas.spaces import Architecture, SearchSpace

__all__ = ["ExportRequest", "Written"]


@dataclass(frozen=True, eq=False)
class ExportRequest:
    """A network to write, and what it must compute.

    Args:
        space: The search space.
        architecture: The member.
        weights: Name to float32 array, batch normalisation not folded.
        images: `(n, c, h, w)` float32, real inputs of the network; at least one.
        logits: `(n, classes)` that the trained network gives for them.
        facts: What the receipt says beside.
        reference: What gave the logits.
        tolerance: Largest allowed difference of a logit.
    """

    space: SearchSpace
    architecture: Architecture
    weights: Weights
    images: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    facts: ReceiptFacts
    reference: str = "the trained network in torch"
    tolerance: float = 1e-4


@dataclass(frozen=True, eq=False)
class Written:
    """What an exporter wrote.

    Args:
        model: Name of the file to load.
        logits: `(n, classes)` that the written file gives for the request's images.
        runtime: What ran it, with its version.
        notes: What a user of the model must know.
    """

    model: str
    logits: npt.NDArray[np.float32]
    runtime: str
    notes: tuple[str, ...] = ()
