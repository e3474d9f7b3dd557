"""What tuning did."""

from dataclasses import dataclass

__all__ = ["TuningSummary"]


@dataclass(frozen=True)
class TuningSummary:
    """What tuning did.

    Args:
        tuned: Kernels with a record that was made or bettered now.
        reused: Kernels whose tuning had come to its end before.
        trials: Candidates that were timed.
        seconds: Wall time.
        left: Names of kernels without a record.
    """

    tuned: int
    reused: int
    trials: int
    seconds: float
    left: tuple[str, ...]
