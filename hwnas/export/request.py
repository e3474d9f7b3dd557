"""What an exporter is given, and what it gives back."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.export.receipt import ReceiptFacts
from hwnas.lowering import Weights
from hwnas.search.run_records import TargetRecord
from hwnas.spaces import Architecture, SearchSpace
from hwnas.targets import Precision
from hwnas.tvm_worker.messages import CodeTarget

__all__ = ["Deployment", "ExportRequest", "Written"]


def _this_machine() -> TargetRecord:
    return TargetRecord("this machine", "", "this machine's processor", 1)


@dataclass(frozen=True)
class Deployment:
    """The device that code is generated for; formats that hold no code do not ask.

    Args:
        target: The device, as the receipt names it.
        code: What LLVM is told of it.
        tuning: Folder of tuning records; None if there are none.
        tuned_as: The target for which profiling makes those records; empty if none does.
        costs_by_tvm: Whether costs of this device are those of TVM's kernels.
        batch: Inputs that the code takes at once.
        on_gpu: Whether it runs on a GPU.
        precision: Of weights and activations there.
    """

    target: TargetRecord = field(default_factory=_this_machine)
    code: CodeTarget = field(default_factory=CodeTarget)
    tuning: Path | None = None
    tuned_as: str = ""
    costs_by_tvm: bool = False
    batch: int = 1
    on_gpu: bool = False
    precision: Precision = "float32"


@dataclass(frozen=True, eq=False)
class ExportRequest:
    """A network to write, and what it must compute.

    Args:
        space: The search space.
        architecture: The member.
        weights: Name to float32 array, batch normalisation not folded.
        images: `(n, c, h, w)` float32, real inputs of the network; at least one.
        logits: `(n, classes)` or `(n, 1, h, w)` that the trained network gives for them.
        facts: What the receipt says beside.
        reference: What gave the logits.
        tolerance: Largest allowed difference of a logit.
        deployment: The device that code is generated for.
    """

    space: SearchSpace
    architecture: Architecture
    weights: Weights
    images: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    facts: ReceiptFacts
    reference: str = "the trained network in torch"
    tolerance: float = 1e-4
    deployment: Deployment = field(default_factory=Deployment)


@dataclass(frozen=True, eq=False)
class Written:
    """What an exporter wrote.

    Args:
        model: Name of the file to load.
        logits: What the written file gives for the request's images, of the request's shape.
        runtime: What ran it, with its version.
        notes: What a user of the model must know.
        target: The device that the file is for, if not any on which its runtime runs.
        not_its_costs: Why times and energies that the request states are not this file's; they
            are left out of the receipt then.
        rounding: How far a logit may be off, above the request's tolerance, because the file
            computes in fewer bits.
    """

    model: str
    logits: npt.NDArray[np.float32]
    runtime: str
    notes: tuple[str, ...] = ()
    target: TargetRecord | None = None
    not_its_costs: str = ""
    rounding: float = 0.0
