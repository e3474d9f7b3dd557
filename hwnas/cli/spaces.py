"""`hwnas spaces`: what can be searched."""

import click

from hwnas.cli.command import command
from hwnas.console import Console

__all__ = ["spaces"]


@command
@click.argument("name", required=False)
def spaces(console: Console, name: str | None) -> None:
    """List the search spaces, those of hardware included, or describe one."""
    from hwnas.spaces import (
        DecisionSpace,
        SearchSpace,
        available_hardware_spaces,
        available_spaces,
        get_hardware_space,
        get_space,
    )

    hardware = available_hardware_spaces()

    def find(name: str) -> DecisionSpace:
        return (get_hardware_space if name.partition("@")[0] in hardware else get_space)(name)

    if name is None:
        found = [find(each) for each in (*available_spaces(), *hardware)]
        rows = [[s.name, f"{s.cardinality:.2g}", s.description] for s in found]
        console.emit(
            {"spaces": {s.name: s.description for s in found}},
            console.table("", ["space", "architectures", "what it is"], rows),
        )
        return
    space = find(name)
    blocks = [block.name for block in space.blocks] if isinstance(space, SearchSpace) else []
    decisions = {d.name: list(d.options) for d in space.decisions}
    rows = [[key, " ".join(map(str, options))] for key, options in decisions.items()]
    console.emit(
        {
            "name": space.name,
            "description": space.description,
            "architectures": str(space.cardinality),
            "decisions": decisions,
            "blocks": blocks,
        },
        f"{space.name}: {space.description}\n{space.cardinality:.4g} architectures, "
        f"{len(blocks)} blocks\n" + console.table("", ["decision", "options"], rows),
    )
