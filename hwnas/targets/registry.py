"""Devices by name: our own, those of other distributions, and files of the user."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from hwnas.errors import PluginError, TargetError
from hwnas.plugins import load_plugin, plugins
from hwnas.targets.checks import check_target
from hwnas.targets.target import Target
from hwnas.toml_files import read_toml

__all__ = ["available_targets", "get_target"]

SCHEMA = 1


def available_targets() -> tuple[str, ...]:
    """Names of all devices, sorted."""
    return tuple(sorted({name for name, _ in _own_devices()} | set(plugins("hwnas.targets"))))


def get_target(name: str) -> Target:
    """Read a device.

    Args:
        name: A name of `available_targets()`, or the path of a TOML file.

    Raises:
        TargetError: There is no such device, or its file is malformed.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise TargetError(f"device file {name!r} does not exist")
        return _decode(path, expected=None)
    own = dict(_own_devices())
    if name in own:
        return _decode(own[name], expected=name)
    if name in plugins("hwnas.targets"):
        folder = load_plugin("hwnas.targets", name)
        if not isinstance(folder, str | Path):
            raise PluginError(f"target plug-in {name!r} must name a folder, not {folder!r}")
        return _decode(Path(folder) / "device.toml", expected=name)
    known = ", ".join(available_targets())
    raise TargetError(
        f"unknown target {name!r}; available: {known}; or give the path of a device.toml"
    )


def _own_devices() -> Iterator[tuple[str, Traversable]]:
    for folder in files("hwnas.data").joinpath("targets").iterdir():
        file = folder.joinpath("device.toml")
        if folder.is_dir() and file.is_file():
            yield folder.name, file


def _decode(file: Traversable, expected: str | None) -> Target:
    target = read_toml(file, Target, "device file", SCHEMA)
    if expected is not None and target.name != expected:
        raise TargetError(f"{file} calls itself {target.name!r}, its folder {expected!r}")
    check_target(target, file)
    return target
