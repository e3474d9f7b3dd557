"""What a GPU does while it is measured: clocks, temperature, power, and what slows it down.

Clocks are recorded, never set: a table of locked clocks says nothing of a board in use.
"""

import time
from collections import Counter

from hwnas.costs import CostTable
from hwnas.nvidia import GpuState, NvidiaGpu, find_gpu
from hwnas.targets import Target

__all__ = ["DeviceWatch"]

_SLOWED_SHARE = 0.05  # of the readings; a board that meets its limits now and then is not slowed


class DeviceWatch:
    """Readings of one measuring session, kept in the table.

    Args:
        target: The device; nothing is read of any but GPUs.
        table: Where readings go.
        session: Number of the session.
        gpu: The board; by default the one that this process computes on.
    """

    def __init__(
        self, target: Target, table: CostTable, session: int, gpu: NvidiaGpu | None = None
    ) -> None:
        self._gpu = gpu or (find_gpu() if target.gpu is not None else None)
        self._table = table
        self._session = session
        self._begin = time.monotonic()
        self._states: list[GpuState] = []

    def note(self) -> None:
        """Read the state now."""
        if self._gpu is None:
            return
        state = self._gpu.state()
        self._states.append(state)
        self._table.add_state(
            self._session,
            time.monotonic() - self._begin,
            (state.clock_hz, state.memory_clock_hz, state.temperature_c, state.power_w),
            state.throttled_by,
        )

    def slowed_by(self) -> dict[str, float]:
        """What kept clocks low in more than a twentieth of the readings, with that share."""
        found = Counter(reason for state in self._states for reason in state.throttled_by)
        shares = {reason: times / len(self._states) for reason, times in found.items()}
        return {reason: share for reason, share in shares.items() if share > _SLOWED_SHARE}
