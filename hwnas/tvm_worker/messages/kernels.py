"""Lowering of models to kernels, and the tuning of kernels."""

import msgspec

from hwnas.graph import Kernel
from hwnas.tvm_worker.messages.values import CodeTarget

__all__ = ["Lower", "Lowered", "Tune", "Tuned"]


class Lower(msgspec.Struct, frozen=True, tag=True):
    """Fuse models into kernels: `Lowered`. The child keeps the kernels, not the weights.

    Args:
        models: ONNX, by any name.
        pieces: Whether they are pieces of networks, whose outer layout changes do not count.
        target: What for; only its precision matters.
    """

    models: dict[str, bytes]
    pieces: bool = False
    target: CodeTarget = CodeTarget()


class Lowered(msgspec.Struct, frozen=True):
    """Kernels of each model in the order in which it calls them."""

    calls: dict[str, tuple[str, ...]]
    kernels: dict[str, Kernel]


class Tune(msgspec.Struct, frozen=True, tag=True):
    """Tune kernels that were lowered before: `Tuned`.

    Args:
        keys: Which ones.
        target: What for.
        database: Folder of tuning records.
        limit_s: Wall time after which tuning stops.
        trials: Measured candidates after which it stops.
        seed: Of the search.
        tracker: Where boards are registered that time the candidates; empty times them here.
        key: Of these boards.
    """

    keys: tuple[str, ...]
    target: CodeTarget
    database: str
    limit_s: float | None = None
    trials: int | None = None
    seed: int = 0
    tracker: str = ""
    key: str = ""


class Tuned(msgspec.Struct, frozen=True):
    """What tuning did; `left` are keys without any record."""

    tuned: int
    reused: int
    trials: int
    seconds: float
    left: tuple[str, ...]
