"""How often, how long and how surely to measure."""

from dataclasses import dataclass

__all__ = ["Protocol"]


@dataclass(frozen=True)
class Protocol:
    """Settings of the measuring protocol.

    Args:
        interval: Wanted half width of the 95 % interval of every median, relative to it.
        spread_limit: Relative spread above which a row is reported as weak.
        minimum_repeats: Samples of every kernel at least.
        limit_s: Wall time after which measuring stops whatever the intervals.
        passes: Timed passes behind one sample, which is their median.
        warmup: Untimed passes before them. A network whose weights were not in the cache is slower
            by 11, 1.4 and 0.5 % in its first, second and third pass (proxyless-mobile@128, Zen 4).
        networks: Whole networks measured beside the blocks, for calibration.
        instances: Times that every block is compiled; samples are taken from all in turn.
        pool: Distinct blocks compiled and alive at one time.
        pool_calls: Kernel calls of the networks that are compiled and alive at one time.
    """

    interval: float = 0.01
    spread_limit: float = 0.25
    minimum_repeats: int = 30
    limit_s: float = 120.0
    passes: int = 3
    warmup: int = 2
    networks: int = 40
    instances: int = 3
    pool: int = 128
    pool_calls: int = 4000
