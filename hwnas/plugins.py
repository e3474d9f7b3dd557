"""Parts that other distributions bring: entry points by group, loaded only when used."""

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from hwnas.errors import PluginError

__all__ = ["load_plugin", "plugins"]


@lru_cache(maxsize=16)
def plugins(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, nothing loaded; the first of equal names wins."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name, e.value)):
        found.setdefault(entry.name, entry)
    return found


def load_plugin(group: str, name: str) -> object:
    """Load one entry point.

    Raises:
        PluginError: There is none of that name, or loading it fails; the cause is named.
    """
    entry = plugins(group).get(name)
    if entry is None:
        raise PluginError(f"no {group} plug-in {name!r}; installed: {sorted(plugins(group))}")
    try:
        return entry.load()
    except Exception as error:
        raise PluginError(f"{group} plug-in {name!r} ({entry.value}) fails: {error}") from error
