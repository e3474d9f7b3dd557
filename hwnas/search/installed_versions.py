"""Versions of the software that a number depends on."""

import platform
from importlib import metadata

__all__ = ["installed_versions"]

_PACKAGES = (
    "numpy",
    "torch",
    "onnxruntime",
    "apache-tvm",
    "apache-tvm-ffi",
    "ai-edge-litert",
    "hwnas",
)


def installed_versions() -> dict[str, str]:
    """Versions of Python and the packages that decide numbers; imports none of them."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
