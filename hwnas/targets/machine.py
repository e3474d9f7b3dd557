"""Names of the hardware that hwnas runs on, as far as the system tells."""

import platform
from functools import lru_cache
from pathlib import Path

from hwnas.nvidia import find_gpu

__all__ = ["graphics_processor", "processor"]


@lru_cache(maxsize=1)
def processor() -> str:
    """Model of this machine's processor, as far as the system tells."""
    facts = [platform.machine()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        wanted = ("vendor_id", "cpu family", "model", "model name", "stepping")
        found: dict[str, str] = {}
        for line in cpuinfo.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                found.setdefault(name.strip(), value.strip())
        facts += [found[name] for name in wanted if name in found]
    else:
        facts.append(platform.processor())
    return " ".join(facts)


@lru_cache(maxsize=1)
def graphics_processor() -> str:
    """Name of the GPU that this process computes on; empty without one."""
    gpu = find_gpu()
    return "" if gpu is None else gpu.name
