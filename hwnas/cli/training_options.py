"""Options of training, shared by the commands that train."""

import functools
from collections.abc import Callable
from typing import Any

import click

from hwnas.console import Console

__all__ = ["training_options"]

_AUTO = "auto"
_TRAINING: dict[str, tuple[Any, str]] = {
    "epochs": (click.IntRange(1), "Passes over the training split."),
    "batch_size": (click.IntRange(2), "Images a step."),
    "learning_rate": (click.FloatRange(0.0, min_open=True), "Peak learning rate."),
    "weight_decay": (click.FloatRange(0.0), "On kernels and matrices."),
    "label_smoothing": (click.FloatRange(0.0, 1.0, max_open=True), "Mass for all classes alike."),
    "accumulate": (click.IntRange(1), "Parts that a batch is cut into, to save memory."),
    "precision": (click.Choice(["fp32", "bf16", "fp16"]), "Other than fp32 on CUDA alone."),
    "augmentation": (
        click.Choice(["shapes", "photographs", "symmetries", "none"]),
        "How images are moved.",
    ),
}


def training_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options of training; the function gets those that were given as `training`.

    The others are the method's own, and the data set's own augmentation.
    """

    @functools.wraps(function)
    def run(console: Console, **arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in _TRAINING}
        arguments["training"] = {k: value for k, value in given.items() if value is not None}
        arguments["device"] = _device(arguments["device"])
        function(console, **arguments)

    for name, (kind, text) in reversed(_TRAINING.items()):
        flag = f"--{name.replace('_', '-')}"
        run = click.option(flag, type=kind, help=text)(run)
    return click.option(
        "--device",
        default=_AUTO,
        show_default=True,
        help="Where torch trains: cpu, cuda, or auto for a GPU where torch sees one.",
    )(run)


def _device(name: str) -> str:
    if name != _AUTO:
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
