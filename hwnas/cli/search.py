"""`hwnas search`: budgets in, a run directory with a measured network out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwnas.cli.command import command
from hwnas.cli.options import (
    data_option,
    limit_option,
    parts_of,
    protocol_of,
    recipe_option,
    resume_option,
    run_option,
    settings_options,
    space_option,
    table_option,
    target_option,
    tracker_option,
    tune_budget_option,
    tuning_budget_of,
)
from hwnas.cli.training_options import training_options
from hwnas.console import Console

if TYPE_CHECKING:
    from hwnas.targets import Settings

__all__ = ["search"]

_LARGEST_POPULATION = 10_000_000


@command
@space_option
@target_option
@settings_options
@table_option
@limit_option
@tune_budget_option
@tracker_option
@click.option("--latency", metavar="BUDGET", help="Such as 2ms, or 50% of the largest network.")
@click.option("--energy", metavar="BUDGET", help="Such as 5mJ, or 50%.")
@click.option("--memory", metavar="BUDGET", help="Peak of activations, such as 1MiB, or 50%.")
@click.option("--strategy", default="nsga2", show_default=True)
@click.option("--estimator", default="supernet", show_default=True)
@data_option
@click.option(
    "--error-table",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Errors of architectures, .csv or .parquet, for --estimator tabulated.",
)
@click.option(
    "--interpolate", is_flag=True, help="Errors that the table lacks, by a regression on its rows."
)
@click.option(
    "--proxies",
    metavar="NAMES",
    help="What --estimator zero-cost goes by, such as naswot,synflow.",
)
@click.option(
    "--supernet",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Run with a trained supernet; by default one is trained.",
)
@recipe_option
@click.option(
    "--hardware-loss",
    help="Of gradient-based strategies: log, mul-log, add-linear or lagrangian.",
)
@click.option(
    "--cost-weight", type=click.FloatRange(0.0), help="Of hardware losses with a fixed weight."
)
@training_options
@click.option(
    "--evaluations",
    type=click.IntRange(1),
    default=400,
    show_default=True,
    help="Architectures to evaluate.",
)
@click.option(
    "--population",
    type=click.IntRange(2, _LARGEST_POPULATION),
    default=40,
    show_default=True,
    help="Architectures in a generation.",
)
@run_option
@resume_option
def search(
    console: Console,
    space: str,
    target: str,
    settings: "Settings",
    table: Path | None,
    limit: str | None,
    tune_budget: str | None,
    latency: str | None,
    energy: str | None,
    memory: str | None,
    proxies: str | None,
    output: Path,
    resume: bool,
    seed: int,
    **arguments: Any,
) -> None:
    """Search a space for networks that meet the budgets; measure the chosen one again."""
    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.requests import Limit, SearchRequest
    from hwnas.pipeline.searching import search as run_search
    from hwnas.pipeline.summary import run_summary

    given = {"latency_s": latency, "energy_j": energy, "memory_bytes": memory}
    limits = tuple(Limit.parse(text, metric) for metric, text in given.items() if text)
    request = SearchRequest(
        space, target, settings, limits, proxies=parts_of(proxies), seed=seed, **arguments
    )
    protocol = protocol_of(limit)
    with CostTable(table or default_table_path()) as opened, console.progress() as progress:
        run = run_search(
            request,
            output,
            opened,
            resume=resume,
            protocol=protocol,
            tuning=tuning_budget_of(tune_budget),
            progress=progress,
            on_start=lambda run: console.log_to(run.log_path),
        )
    console.emit(*run_summary(run))
