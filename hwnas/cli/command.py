"""What every subcommand has: `-v`, `--json`, `--seed`, and a console."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import click

from hwnas.console import Console

__all__ = ["command"]

_LARGEST_SEED = 2**63 - 1


def command(function: Callable[..., None]) -> click.Command:
    """A subcommand with the options that all share; gets a `Console`, and the seed if it asks."""
    takes_seed = "seed" in inspect.signature(function).parameters

    @functools.wraps(function)
    def run(as_json: bool, verbose: int, seed: int, **arguments: Any) -> None:
        if takes_seed:
            arguments["seed"] = seed
        function(Console(as_json=as_json, verbosity=verbose), **arguments)

    name = function.__name__.strip("_").replace("_", "-")
    for option in (
        click.option("-v", "--verbose", count=True, help="Say more; twice for details."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
        click.option(
            "--seed",
            type=click.IntRange(0, _LARGEST_SEED),
            default=0,
            show_default=True,
            help="Of all random draws.",
        ),
    ):
        run = option(run)
    return click.command(name)(run)
