"""Take the machine's changing speed out of a stream of interleaved samples.

Shared and clocked machines run faster and slower for milliseconds to minutes at a time, and all
that is measured then is slower together. With many kernels measured in turns, the speed at each
sample is the median, over its neighbours in time, of sample divided by that kernel's own median.
Dividing it out and taking the medians again converges in a few rounds: Tukey's median polish
(Exploratory Data Analysis, 1977, chapter 11) with a moving window in place of the second factor.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["medians_by_item", "relative_slowness"]

Floats = npt.NDArray[np.float64]

HALF_WINDOW = 8  # neighbours on either side: a few ms of kernels, some tens of ms of networks
_ITERATIONS = 5


def relative_slowness(
    items: npt.NDArray[np.intp],
    values: Floats,
    sessions: npt.NDArray[np.intp] | None = None,
    half_window: int = HALF_WINDOW,
) -> Floats:
    """How much slower than usual the machine was at each sample, `(n,)`; its median is 1.

    A sample never contributes to its own factor, so the spread that is left is not flattered.

    Args:
        items: What was measured, `(n,)`, numbered from 0.
        values: Seconds, `(n,)`, in the order they were taken.
        sessions: Session of each sample, `(n,)`, not decreasing; windows do not reach across. The
            median is 1 in the first session, so later ones are brought to its speed.
        half_window: Neighbours on either side.

    Returns:
        Factors; all 1 where there is nothing to compare with (fewer than two samples).
    """
    n = len(values)
    slowness = np.ones(n)
    if n < 2:
        return slowness
    session = np.zeros(n, dtype=np.intp) if sessions is None else sessions
    first, last = _session_bounds(session)
    offsets = np.array([o for o in range(-half_window, half_window + 1) if o])
    neighbours = np.arange(n)[:, None] + offsets
    outside = (neighbours < first[:, None]) | (neighbours > last[:, None])
    neighbours = np.where(outside, 0, neighbours)
    usual = medians_by_item(items, values)
    in_first = session == session[0]
    for _ in range(_ITERATIONS):
        ratio = values / usual[items]
        around = np.where(outside, np.nan, ratio[neighbours])
        lonely = outside.all(axis=1)
        around[lonely] = 1.0
        slowness = np.nanmedian(around, axis=1)
        slowness /= np.median(slowness[in_first])
        usual = medians_by_item(items, values / slowness)
    return slowness


def medians_by_item(items: npt.NDArray[np.intp], values: Floats) -> Floats:
    """Median of the values of each item, `(largest item + 1,)`; NaN for an item without any."""
    order = np.lexsort((values, items))
    sorted_items, sorted_values = items[order], values[order]
    count = int(items.max()) + 1
    starts = np.searchsorted(sorted_items, np.arange(count))
    ends = np.searchsorted(sorted_items, np.arange(count), side="right")
    sizes = ends - starts
    low = np.minimum(starts + np.maximum(sizes - 1, 0) // 2, len(values) - 1)
    high = np.minimum(starts + sizes // 2, len(values) - 1)
    middle: Floats = 0.5 * (sorted_values[low] + sorted_values[high])
    return np.where(sizes > 0, middle, np.nan)


def _session_bounds(
    session: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.searchsorted(session, session), np.searchsorted(session, session, side="right") - 1
