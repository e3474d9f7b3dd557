"""`hwnas measure`: latency and energy of a whole model."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwnas.cli.command import command
from hwnas.cli.options import (
    limit_option,
    protocol_of,
    settings_options,
    table_option,
    target_option,
    tracker_option,
)
from hwnas.console import Console

if TYPE_CHECKING:
    from hwnas.targets import Settings

__all__ = ["measure"]


@command
@click.argument("model", type=click.Path(path_type=Path))
@target_option
@settings_options
@table_option
@limit_option
@tracker_option
def measure(
    console: Console,
    model: Path,
    target: str,
    settings: "Settings",
    table: Path | None,
    limit: str | None,
    seed: int,
) -> None:
    """Measure a model file on a target, ONNX or .tflite; where kernels are tuned, tune first."""
    from hwnas.backends import KernelBackend, get_backend
    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.measuring import measure_model
    from hwnas.quantities import format_metric
    from hwnas.targets import get_target

    device = get_target(target).with_settings(settings)
    path = table or default_table_path()
    tunes = isinstance(get_backend(device), KernelBackend)  # its records lie beside the table
    opened = CostTable(path) if tunes or path.is_file() else None
    with console.progress() as progress:
        found = measure_model(
            model,
            device,
            protocol=protocol_of(limit or "20s"),
            table=opened,
            seed=seed,
            progress=progress,
        )
    latency = found.latency
    low, high, spread = (
        format_metric(value, "latency_s") for value in (latency.low, latency.high, latency.spread)
    )
    text = (
        f"{format_metric(latency.value, 'latency_s')} (95 % interval {low} to {high}, spread "
        f"{spread}, {latency.repeats} repeats, {latency.outliers} outliers kept), measured on "
        f"{target} with {found.source.runtime}, {device.how}"
    )
    if found.launch is not None:
        text += f"\nlaunch: {format_metric(found.launch.value, 'latency_s')} beside, on the host"
    if found.energy is None:
        text += f"\nenergy: not known, {found.no_energy}"
    else:
        energy = format_metric(found.energy.value, "energy_j")
        interval = 100.0 * found.energy.relative_interval
        text += (
            f"\nenergy: {energy} (within {interval:.1f} %) above {found.idle_power_w:.1f} W idle"
        )
    console.emit(
        {
            "model": str(model),
            "target": target,
            "threads": device.runtime.threads,
            "how": device.how,
            "runtime": found.source.runtime,
            "fingerprint": found.source.fingerprint,
            "latency_s": vars(latency),
            "launch_s": None if found.launch is None else vars(found.launch),
            "energy_j": None if found.energy is None else vars(found.energy),
            "idle_power_w": found.idle_power_w,
            "no_energy": found.no_energy,
            "provenance": "measured",
        },
        text,
    )
