"""`hwnas profile`: a space and a target in, rows of the cost table out."""

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.cli.command import command
from hwnas.cli.options import (
    limit_option,
    protocol_of,
    settings_options,
    space_option,
    table_option,
    target_option,
    tracker_option,
    tune_budget_option,
    tuning_budget_of,
)
from hwnas.console import Console

if TYPE_CHECKING:
    from hwnas.targets import Settings

__all__ = ["profile"]


@command
@space_option
@target_option
@settings_options
@table_option
@limit_option
@tune_budget_option
@tracker_option
def profile(
    console: Console,
    space: str,
    target: str,
    settings: "Settings",
    table: Path | None,
    limit: str | None,
    tune_budget: str | None,
    seed: int,
) -> None:
    """Measure the blocks of a space into the cost table; resumes where it was stopped."""
    import numpy as np

    from hwnas.costs import CostTable, default_table_path
    from hwnas.profiling import profile_space
    from hwnas.spaces import get_space
    from hwnas.targets import get_target

    found, device = get_space(space), get_target(target).with_settings(settings)
    path = table or default_table_path()
    with CostTable(path) as opened, console.progress() as progress:
        summary = profile_space(
            found,
            device,
            opened,
            protocol=protocol_of(limit),
            tuning=tuning_budget_of(tune_budget),
            rng=np.random.default_rng(seed),
            progress=progress,
        )
    text = (
        f"{summary.measured} of {summary.units} blocks of {space} costed on {target} in "
        f"{summary.seconds:.1f} s, {summary.units - summary.measured} were there; "
        f"table: {path}"
    )
    if summary.weak:
        console.note(
            f"{summary.weak} blocks are less certain than wanted, the worst within "
            f"{100 * summary.worst_relative_interval:.1f} %: raise --limit on a busy machine"
        )
    for reason, share in summary.slowed_by.items():
        console.note(
            f"the device's clocks were kept low in {100 * share:.0f} % of the readings: {reason}"
        )
    console.emit({**vars(summary), "table": str(path), "fingerprint": device.fingerprint}, text)
