"""Times of networks and kernels by the clock of the device that runs them. Runs where TVM runs.

TVM's evaluator records an event of the device before and after the work (on a processor it reads
the clock), so what the host does before and after is not in it. A network is timed as one call; as
TVM launches its kernels one by one, the device's waiting for launches is part of its time. A
kernel is timed alone, called again and again until `_LEAST_S` has passed; where it is shorter than
its own launch, the time is that of the launch, as inside a network.
"""

from collections.abc import Sequence

import numpy as np

from hwnas.tvm_worker.noise import noise_tensor
from hwnas.tvm_worker.timing import LoadedNetwork, Seconds

__all__ = ["time_kernels_on_device", "time_networks_on_device"]

_LEAST_S = 1e-3  # of one sample of a kernel: 2000 times the resolution of CUDA's events, 0.5 us
_TICK_S = 1e-9


def time_networks_on_device(
    networks: Sequence[LoadedNetwork], *, warmup: int, passes: int
) -> tuple[Seconds, ...]:
    """Median time of each network in s, twice, run in turns."""
    for _ in range(warmup):
        for network in networks:
            network.run()
    timers = [network.timer() for network in networks]
    seconds = np.empty((passes, len(networks)))
    for one_pass in seconds:
        one_pass[:] = [timer() for timer in timers]
    return tuple(_twice(float(median)) for median in np.median(seconds, axis=0))


def time_kernels_on_device(
    network: LoadedNetwork, *, warmup: int, passes: int
) -> tuple[Seconds, ...]:
    """Median time of each kernel call of a network in s, twice, in order of the calls."""
    found: dict[str, Seconds] = {}
    for name in dict.fromkeys(network.names):
        arguments = [noise_tensor(*each, network.device) for each in network.arguments[name]]
        kernel = network.kernel(name)
        for _ in range(warmup):
            kernel[name](*arguments)
        timer = kernel.time_evaluator(
            name, network.device, number=1, repeat=passes, min_repeat_ms=round(1e3 * _LEAST_S)
        )
        found[name] = _twice(float(np.median(timer(*arguments).results)))
    return tuple(found[name] for name in network.names)


def _twice(seconds: float) -> Seconds:
    return max(_TICK_S, seconds), max(_TICK_S, seconds)
