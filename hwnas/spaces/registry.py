"""Spaces by name: our own and those of installed plug-ins (entry point group `hwnas.spaces`).

A name may carry the image side, as in `proxyless-mobile@128`. Spaces of hardware have names of
their own, and may carry the number of sub-accelerators, as in `accelerator@3`.
"""

import inspect
from collections.abc import Callable
from functools import lru_cache

from hwnas.errors import PluginError, SpaceError
from hwnas.plugins import load_plugin, plugins
from hwnas.spaces.accelerator_space import MAX_SUB_ACCELERATORS, AcceleratorSpace, accelerator
from hwnas.spaces.cells_digits import cells_digits, cells_digits_free
from hwnas.spaces.darts import darts
from hwnas.spaces.fbnet import fbnet, fbnet_cifar
from hwnas.spaces.mbconv_digits import mbconv_digits
from hwnas.spaces.nasbench201 import nasbench201
from hwnas.spaces.ofa_mbv3 import ofa_mbv3
from hwnas.spaces.proxyless_mobile import proxyless_mobile
from hwnas.spaces.resnet9 import resnet9
from hwnas.spaces.space import SearchSpace
from hwnas.spaces.unet import unet

__all__ = ["available_hardware_spaces", "available_spaces", "get_hardware_space", "get_space"]

GROUP = "hwnas.spaces"
_OWN: dict[str, Callable[..., SearchSpace]] = {
    "cells-digits": cells_digits,
    "cells-digits-free": cells_digits_free,
    "darts": darts,
    "fbnet": fbnet,
    "fbnet-cifar": fbnet_cifar,
    "mbconv-digits": mbconv_digits,
    "nasbench201": nasbench201,
    "ofa-mbv3": ofa_mbv3,
    "proxyless-mobile": proxyless_mobile,
    "resnet9": resnet9,
    "unet": unet,
}
_HARDWARE: dict[str, Callable[..., AcceleratorSpace]] = {"accelerator": accelerator}
_RESOLUTIONS = range(16, 1025)  # pixels; outside, a network would have no or absurd feature maps
_MAX_DIGITS = 4


def available_spaces() -> tuple[str, ...]:
    """Names of all spaces, sorted."""
    return tuple(sorted({*_OWN, *plugins(GROUP)}))


@lru_cache(maxsize=32)
def get_space(name: str) -> SearchSpace:
    """The space of that name.

    Args:
        name: A name of `available_spaces()`, optionally with `@` and the image side in pixels.

    Raises:
        SpaceError: There is no such space, it has a fixed side, or the side is not sensible.
        PluginError: A plug-in cannot be loaded, or does not make a space.
    """
    stem, at, parameter = name.partition("@")
    factory = _factory(stem)
    if not at:
        return _made(factory(), stem)
    if "resolution" not in inspect.signature(factory).parameters:
        raise SpaceError(f"space {stem!r} takes no image side: write {stem!r}")
    digits = parameter.isdecimal() and len(parameter) <= _MAX_DIGITS
    if not digits or int(parameter) not in _RESOLUTIONS:
        raise SpaceError(
            f"{name!r}: the image side must be a number of pixels from {_RESOLUTIONS.start} to "
            f"{_RESOLUTIONS.stop - 1}, as in {stem}@128"
        )
    return _made(factory(resolution=int(parameter)), stem)


def available_hardware_spaces() -> tuple[str, ...]:
    """Names of all spaces of hardware, sorted."""
    return tuple(sorted(_HARDWARE))


@lru_cache(maxsize=32)
def get_hardware_space(name: str) -> AcceleratorSpace:
    """The space of hardware of that name.

    Args:
        name: A name of `available_hardware_spaces()`, optionally with `@` and the number of
            sub-accelerators.

    Raises:
        SpaceError: There is no such space, or the number is not sensible.
    """
    stem, at, parameter = name.partition("@")
    if stem not in _HARDWARE:
        known = ", ".join(available_hardware_spaces())
        raise SpaceError(f"unknown space of hardware {stem!r}; available: {known}")
    if not at:
        return _HARDWARE[stem]()
    if parameter not in map(str, range(1, MAX_SUB_ACCELERATORS + 1)):
        raise SpaceError(
            f"{name!r}: the number of sub-accelerators must be 1 to {MAX_SUB_ACCELERATORS}, "
            f"as in {stem}@1"
        )
    return _HARDWARE[stem](int(parameter))


def _factory(stem: str) -> Callable[..., object]:
    if stem in _OWN:
        return _OWN[stem]
    if stem not in plugins(GROUP):
        raise SpaceError(f"unknown space {stem!r}; available: {', '.join(available_spaces())}")
    found = load_plugin(GROUP, stem)
    if not callable(found):
        raise PluginError(f"space plug-in {stem!r} must be a callable, not {found!r}")
    return found


def _made(space: object, stem: str) -> SearchSpace:
    if not isinstance(space, SearchSpace):
        raise PluginError(f"space plug-in {stem!r} must make a SearchSpace, not {space!r}")
    return space
