"""Backends by name, from the entry point group `hwnas.backends`; ours are listed there too.

An entry is a class, or a function that is given the target and chooses: one kind of hardware may
have several runtimes.
"""

import inspect

from hwnas.backends.backend import Backend
from hwnas.errors import PluginError, TargetError
from hwnas.plugins import load_plugin, plugins
from hwnas.targets import Target

__all__ = ["available_backends", "get_backend"]

GROUP = "hwnas.backends"


def available_backends() -> tuple[str, ...]:
    """Names of all installed backends, sorted."""
    return tuple(sorted(plugins(GROUP)))


def get_backend(target: Target) -> Backend:
    """The backend of a target.

    Raises:
        TargetError: No installed backend has the name that the target's file gives.
        PluginError: The backend does not keep the contract.
    """
    if target.backend not in plugins(GROUP):
        known = ", ".join(available_backends())
        raise TargetError(
            f"target {target.name!r} wants backend {target.backend!r}; installed: {known}"
        )
    factory = load_plugin(GROUP, target.backend)
    if not callable(factory):
        raise PluginError(f"backend {target.backend!r} is neither a class nor a function")
    backend = factory() if inspect.isclass(factory) else factory(target)
    if not isinstance(backend, Backend):
        raise PluginError(f"backend {target.backend!r} lacks a method of hwnas.backends.Backend")
    return backend
