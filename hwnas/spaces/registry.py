"""Spaces by name: our own and those of installed plug-ins (entry point group `hwnas.spaces`).

A name may carry the image side, as in `proxyless-mobile@128`.
"""

import inspect
from collections.abc import Callable
from functools import lru_cache

from hwnas.errors import SpaceError
from hwnas.plugins import plugins
from hwnas.spaces.mbconv_digits import mbconv_digits
from hwnas.spaces.ofa_mbv3 import ofa_mbv3
from hwnas.spaces.proxyless_mobile import proxyless_mobile
from hwnas.spaces.space import SearchSpace

__all__ = ["available_spaces", "get_space"]

_OWN: dict[str, Callable[..., SearchSpace]] = {
    "mbconv-digits": mbconv_digits,
    "ofa-mbv3": ofa_mbv3,
    "proxyless-mobile": proxyless_mobile,
}
_RESOLUTIONS = range(16, 1025)  # pixels; outside, a network would have no or absurd feature maps


def available_spaces() -> tuple[str, ...]:
    """Names of all spaces, sorted."""
    return tuple(sorted({*_OWN, *plugins("hwnas.spaces")}))


@lru_cache(maxsize=32)
def get_space(name: str) -> SearchSpace:
    """The space of that name.

    Args:
        name: A name of `available_spaces()`, optionally with `@` and the image side in pixels.

    Raises:
        SpaceError: There is no such space, it has a fixed side, or the side is not sensible.
    """
    stem, at, parameter = name.partition("@")
    factory = _OWN.get(stem)
    if factory is None:
        found = plugins("hwnas.spaces").get(stem)
        if found is None:
            known = ", ".join(available_spaces())
            raise SpaceError(f"unknown space {stem!r}; available: {known}")
        factory = found.load()
    if not at:
        return factory()
    if "resolution" not in inspect.signature(factory).parameters:
        raise SpaceError(f"space {stem!r} takes no image side: write {stem!r}")
    if not parameter.isdecimal() or int(parameter) not in _RESOLUTIONS:
        raise SpaceError(
            f"{name!r}: the image side must be a number of pixels from {_RESOLUTIONS.start} to "
            f"{_RESOLUTIONS.stop - 1}, as in {stem}@128"
        )
    return factory(resolution=int(parameter))
