"""Parts by name: our own, and those that other distributions bring; loaded only when used."""

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from hwnas.errors import PluginError

__all__ = ["available_classes", "load_class", "load_plugin", "plugins"]


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


def available_classes(own: Mapping[str, tuple[str, str]], group: str) -> tuple[str, ...]:
    """Names of our own classes and of those in an entry point group, sorted."""
    return tuple(sorted({*own, *plugins(group)}))


def load_class(
    kind: str, own: Mapping[str, tuple[str, str]], group: str, name: str
) -> type[object]:
    """A class by its name on the command line.

    Args:
        kind: What it is, for messages, such as `recipe`.
        own: Name to module and class.
        group: Entry point group of plug-ins.
        name: The name.

    Raises:
        PluginError: There is none of that name, or a plug-in's cannot be loaded or is no class.
    """
    if name in own:
        module, attribute = own[name]
        found = getattr(import_module(module), attribute)
    elif name in plugins(group):
        found = load_plugin(group, name)
    else:
        known = ", ".join(available_classes(own, group))
        raise PluginError(f"unknown {kind} {name!r}; available: {known}")
    if not isinstance(found, type):
        raise PluginError(f"{kind} {name!r} is a {type(found).__name__}, not a class")
    return found
