"""Whether the GPU that a target describes is the one that is here."""

from hwnas.backends.backend import Availability
from hwnas.nvidia import search_gpu
from hwnas.targets import Target

__all__ = ["gpu_here"]


def gpu_here(target: Target) -> Availability | None:
    """None where the target's GPU is here, else what is here in its place; never raises."""
    if target.gpu is None:
        return Availability(False, "its device file has no [gpu]", "add one")
    found = search_gpu()
    if found.gpu is None:
        return Availability(False, found.reason, found.remedy or "run on a machine with a GPU")
    if target.gpu.product not in ("", found.gpu.name):
        return Availability(
            False,
            f"the GPU here is {found.gpu.name}, not {target.gpu.product}",
            "use target cuda, or a device file whose product is that name",
        )
    return None
