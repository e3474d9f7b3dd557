"""`hwnas train`: a supernet for later searches."""

from pathlib import Path
from typing import Any

from hwnas.cli.command import command
from hwnas.cli.options import (
    data_option,
    recipe_option,
    resume_option,
    run_option,
    space_option,
)
from hwnas.cli.training_options import training_options
from hwnas.console import Console

__all__ = ["train"]


@command
@space_option
@data_option
@recipe_option
@training_options
@run_option
@resume_option
def train(console: Console, output: Path, resume: bool, seed: int, **arguments: Any) -> None:
    """Train a supernet once, for searches under any later budget and target."""
    from hwnas.pipeline.requests import TrainRequest
    from hwnas.pipeline.training import train as run_training

    with console.progress() as progress:
        run = run_training(
            TrainRequest(seed=seed, **arguments),
            output,
            resume=resume,
            progress=progress,
            on_start=lambda run: console.log_to(run.log_path),
        )
    console.emit(
        {"run": str(run.path), "timings_s": run.record.timings_s},
        f"supernet in {run.supernet_path}, metrics in {run.path / 'training.csv'} and "
        f"{run.path / 'tensorboard'}; search with `hwnas search --supernet {run.path}`",
    )
