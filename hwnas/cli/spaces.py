"""`hwnas spaces`: what can be searched."""

import click

from hwnas.cli.command import command
from hwnas.console import Console

__all__ = ["spaces"]


@command
@click.argument("name", required=False)
def spaces(console: Console, name: str | None) -> None:
    """List the search spaces, or describe one."""
    from hwnas.spaces import available_spaces, get_space

    if name is None:
        found = [get_space(each) for each in available_spaces()]
        rows = [[s.name, f"{s.cardinality:.2g}", s.description] for s in found]
        console.emit(
            {"spaces": {s.name: s.description for s in found}},
            console.table("", ["space", "architectures", "what it is"], rows),
        )
        return
    space = get_space(name)
    decisions = {d.name: list(d.options) for d in space.decisions}
    rows = [[key, " ".join(map(str, options))] for key, options in decisions.items()]
    console.emit(
        {
            "name": space.name,
            "description": space.description,
            "architectures": str(space.cardinality),
            "decisions": decisions,
            "blocks": [block.name for block in space.blocks],
        },
        f"{space.name}: {space.description}\n{space.cardinality:.4g} architectures, "
        f"{len(space.blocks)} blocks\n" + console.table("", ["decision", "options"], rows),
    )
