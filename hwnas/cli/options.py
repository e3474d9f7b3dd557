"""Options that several commands share."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwnas.console import Console
from hwnas.environment import TRACKER_VARIABLE

if TYPE_CHECKING:
    from hwnas.backends import TuningBudget
    from hwnas.profiling import Protocol

_TRIALS = "trials"
_PRECISIONS = {"fp32": "float32", "tf32": "tf32", "fp16": "float16", "bf16": "bfloat16"}
_SETTINGS: dict[str, tuple[Any, str]] = {
    "threads": (click.IntRange(1, 1024), "Threads of one network."),
    "batch": (click.IntRange(1, 256), "Inputs at once, on GPUs; costs are those of a batch."),
    "dtype": (click.Choice(list(_PRECISIONS)), "Of weights and activations, on GPUs."),
    "runtime": (
        click.Choice(["torch", "tvm", "tvm-tuned", "onnxruntime", "tensorrt"]),
        "What compiles and executes, on GPUs.",
    ),
}

__all__ = [
    "data_option",
    "limit_option",
    "parts_of",
    "protocol_of",
    "recipe_option",
    "resume_option",
    "run_option",
    "settings_options",
    "space_option",
    "table_option",
    "target_option",
    "tracker_option",
    "tune_budget_option",
    "tuning_budget_of",
]

space_option = click.option("--space", required=True, help="Search space, such as mbconv-digits.")
target_option = click.option(
    "--target", default="cpu", show_default=True, help="Device: a name or a device.toml."
)


def settings_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options of how networks run; the function gets `settings`, the device's own by default."""

    @functools.wraps(function)
    def run(console: Console, **arguments: Any) -> None:
        from hwnas.targets import Settings

        given = {name: arguments.pop(name) for name in _SETTINGS}
        dtype = given.pop("dtype")
        given["precision"] = None if dtype is None else _PRECISIONS[dtype]
        function(console, settings=Settings(**given), **arguments)

    for name, (kind, text) in reversed(_SETTINGS.items()):
        run = click.option(f"--{name}", type=kind, help=text)(run)
    return run


table_option = click.option(
    "--table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Cost table; by default the one in the user's data folder.",
)
limit_option = click.option(
    "--limit", "limit", metavar="TIME", help="Most time for measuring, such as 60s."
)
data_option = click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits, nuclei, cifar10:DIR, folder:DIR, npz:FILE or package.module:callable.",
)
recipe_option = click.option(
    "--recipe", default="sandwich", show_default=True, help="How the supernet is trained."
)
resume_option = click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
run_option = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="RUN"
)
tune_budget_option = click.option(
    "--tune-budget",
    metavar="BUDGET",
    help="Most tuning by compilers that tune: a time such as 10min, or trials such as 500trials.",
)


def _use_tracker(context: click.Context, _option: click.Parameter, value: str | None) -> None:
    """Backends look the tracker up in the environment: it is a site's, not a command's."""
    if value is None:
        return
    before = os.environ.get(TRACKER_VARIABLE)
    os.environ[TRACKER_VARIABLE] = value

    @context.call_on_close
    def _restore() -> None:
        if before is None:
            os.environ.pop(TRACKER_VARIABLE, None)
        else:
            os.environ[TRACKER_VARIABLE] = before


tracker_option = click.option(
    "--tracker",
    envvar=TRACKER_VARIABLE,
    metavar="HOST:PORT",
    expose_value=False,
    callback=_use_tracker,
    help="RPC tracker at which boards register; HWNAS_TRACKER by default.",
)


def parts_of(text: str | None) -> tuple[str, ...]:
    """What an option names with commas between; empty if it was not given."""
    return tuple(part.strip() for part in text.split(",")) if text else ()


def protocol_of(limit: str | None) -> "Protocol":
    """The measuring protocol with the time that `--limit` gives.

    Raises:
        QuantityError: Not a time.
    """
    from hwnas.profiling import Protocol
    from hwnas.quantities import parse_quantity

    return Protocol() if limit is None else Protocol(limit_s=parse_quantity(limit, "time"))


def tuning_budget_of(text: str | None) -> "TuningBudget | None":
    """What `--tune-budget` gives; None leaves it to the backend.

    Raises:
        QuantityError: Neither a time nor a number of trials.
    """
    from hwnas.backends import TuningBudget
    from hwnas.errors import QuantityError
    from hwnas.quantities import parse_quantity

    if text is None:
        return None
    number = text.strip().removesuffix(_TRIALS).strip()
    if text.strip().endswith(_TRIALS):
        if not number.isascii() or not number.isdigit() or not int(number):
            raise QuantityError(f"{text!r} is no number of trials; write it like 500trials")
        return TuningBudget(trials=int(number))
    return TuningBudget(limit_s=parse_quantity(text, "time"))
