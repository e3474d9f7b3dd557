"""`hwnas doctor`: what works here."""

from hwnas.cli.command import command
from hwnas.console import Console

__all__ = ["doctor"]


@command
def doctor(console: Console) -> None:
    """Tell what works on this machine, and what to do about the rest."""
    from hwnas.pipeline.doctor import examine

    checks = examine()
    rows = [[c.part, "ok" if c.works else "no", c.found, c.remedy] for c in checks]
    console.emit(
        {"checks": [vars(check) for check in checks]},
        console.table("", ["part", "works", "found", "what to do"], rows),
    )
