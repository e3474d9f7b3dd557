"""`hwnas targets`: the devices."""

import click

from hwnas.cli.command import command
from hwnas.console import Console

__all__ = ["targets"]


@command
@click.argument("name", required=False)
def targets(console: Console, name: str | None) -> None:
    """List the devices, or describe one."""
    import msgspec

    from hwnas.targets import available_targets, get_target

    if name is not None:
        found = msgspec.to_builtins(get_target(name))
        found["fingerprint"] = get_target(name).fingerprint
        text = "\n".join(f"{key}: {value}" for key, value in found.items())
        console.emit(found, text)
        return
    described = {each: get_target(each).description for each in available_targets()}
    console.emit(
        {"targets": described},
        console.table("", ["target", "what it is"], [list(item) for item in described.items()]),
    )
