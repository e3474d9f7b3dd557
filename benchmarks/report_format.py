"""What every benchmark prints: the machine it ran on, and its results as text or as JSON."""

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

__all__ = ["emit", "machine", "result"]


def machine() -> dict[str, Any]:
    """Returns what this machine is, as far as the figures depend on it."""
    numpy = sys.modules.get("numpy")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": getattr(numpy, "__version__", None),
    }


def result(
    name: str,
    value: float,
    unit: str,
    *,
    better: str = "higher",
    reach: float | None = None,
    **details: Any,
) -> dict[str, Any]:
    """Returns one result.

    Args:
        name: Its name.
        value: Its value, in `unit`.
        unit: SI unit, `1` for a ratio.
        better: `higher` or `lower`.
        reach: The value to reach, if there is one.
        details: Whatever else a reader needs, such as the spread.
    """
    found = {"name": name, "value": value, "unit": unit, "better": better, **details}
    if reach is not None:
        found["reach"] = reach
    return found


def emit(benchmark: str, results: list[dict[str, Any]], as_json: bool) -> None:
    """Prints the results on stdout, one JSON object or one line each.

    Args:
        benchmark: Its name.
        results: What `result` returned.
        as_json: Whether to print JSON.
    """
    if as_json:
        found = {"benchmark": benchmark, "machine": machine(), "results": results}
        print(json.dumps(found))
        return
    for entry in results:
        reach = f"  (reach {entry['reach']:g})" if "reach" in entry else ""
        print(f"{entry['name']:<44} {entry['value']:>12.6g} {entry['unit']}{reach}")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
