"""`hwnas cosearch`: specs in, networks with the chip they run on out."""

from pathlib import Path
from typing import Any

import click

from hwnas.cli.command import command
from hwnas.cli.options import parts_of, recipe_option, resume_option, run_option
from hwnas.cli.training_options import training_options
from hwnas.console import Console

__all__ = ["cosearch"]


@command
@click.option(
    "--spaces", required=True, metavar="NAMES", help="Of the networks, such as resnet9,unet."
)
@click.option("--hardware", default="accelerator", show_default=True, help="Space of chips.")
@click.option(
    "--spec",
    required=True,
    metavar="LIMITS",
    help="Such as latency=8e5cycles,energy=2e9nJ,area=4e9um2; latency also as a time.",
)
@click.option(
    "--technology", default="maestro2020", show_default=True, help="A profile, or a TOML file."
)
@click.option(
    "--data",
    metavar="SETS",
    help="One for each space, such as digits,nuclei; by default one of its kind.",
)
@click.option(
    "--accuracy",
    "--error-table",
    "accuracy",
    metavar="FILES",
    help="Error tables, one for each space; means --estimator tabulated.",
)
@click.option(
    "--interpolate", is_flag=True, help="Errors that a table lacks, by a regression on its rows."
)
@click.option("--estimator", help="trained (default), tabulated, supernet or synthetic.")
@click.option(
    "--weights", metavar="SHARES", help="Of the networks' errors, such as .7,.3; equal by default."
)
@click.option(
    "--strategy",
    default="nasaic",
    show_default=True,
    help="nasaic, nsga2, network-first or hardware-first.",
)
@click.option("--episodes", type=click.IntRange(1, 1_000_000), default=500, show_default=True)
@click.option(
    "--hardware-steps",
    type=click.IntRange(0, 1000),
    default=10,
    show_default=True,
    help="Chips tried for the networks of an episode beside its own.",
)
@recipe_option
@training_options
@run_option
@resume_option
def cosearch(
    console: Console,
    spaces: str,
    data: str | None,
    accuracy: str | None,
    estimator: str | None,
    weights: str | None,
    output: Path,
    resume: bool,
    seed: int,
    **arguments: Any,
) -> None:
    """Search networks and the chip they run on together, within specs."""
    from hwnas.errors import PluginError
    from hwnas.pipeline.cosearch_requests import CoSearchRequest
    from hwnas.pipeline.cosearch_summary import cosearch_summary
    from hwnas.pipeline.cosearching import cosearch as run_cosearch

    tables = tuple(Path(name) for name in parts_of(accuracy))
    if tables and estimator not in (None, "tabulated"):
        raise PluginError(f"--accuracy is read by the estimator tabulated, not by {estimator}")
    request = CoSearchRequest(
        spaces=parts_of(spaces),
        data=parts_of(data),
        error_tables=tables,
        estimator=estimator or ("tabulated" if tables else "trained"),
        weights=_shares(weights),
        seed=seed,
        **arguments,
    )
    with console.progress() as progress:
        run = run_cosearch(
            request,
            output,
            resume=resume,
            progress=progress,
            on_start=lambda run: console.log_to(run.log_path),
        )
    result, text, columns, rows = cosearch_summary(run)
    console.emit(result, f"{text}\n{console.table('schedule', columns, rows)}")


def _shares(text: str | None) -> tuple[float, ...]:
    from hwnas.errors import QuantityError

    try:
        return tuple(float(part) for part in parts_of(text))
    except ValueError:
        raise QuantityError(f"cannot read weights {text!r}: write shares such as .5,.5") from None
