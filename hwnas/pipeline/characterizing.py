"""A chip and an array to rows of the table of arrays, seed by seed."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hwnas.errors import TargetError
from hwnas.fpga.characterisation import (
    ArraySummary,
    array_rows,
    default_rows_path,
    read_rows,
    summarise_array,
    write_rows,
)
from hwnas.fpga.synthesis import check_fits, synthesise
from hwnas.progress import Progress, silent
from hwnas.targets import FpgaArray, Target

__all__ = ["CharacterisedArray", "array_of", "characterize_array"]

log = logging.getLogger(__name__)

_MAX_SEEDS = 1000


@dataclass(frozen=True)
class CharacterisedArray:
    """What is known about an array now.

    Args:
        array: Chip and array.
        summary: Clock and rows, earlier ones included.
        done: Seeds that were placed and routed now.
        path: The user's table.
    """

    array: FpgaArray
    summary: ArraySummary
    done: tuple[int, ...]
    path: Path


def array_of(target: Target, side: int | None = None) -> FpgaArray:
    """The target's array, or one of another side on the same chip.

    Raises:
        TargetError: The target is no FPGA, or the array does not fit.
    """
    if target.fpga is None:
        raise TargetError(
            f"target {target.name!r} is no FPGA; ecp5_25f and ecp5_85f are, or a device.toml with "
            "an [fpga] section"
        )
    array = target.fpga if side is None else msgspec.structs.replace(target.fpga, side=side)
    check_fits(array)
    return array


def characterize_array(
    array: FpgaArray,
    seeds: Sequence[int],
    *,
    again: bool = False,
    path: Path | None = None,
    progress: Progress = silent,
) -> CharacterisedArray:
    """Place and route an array with every seed that the table lacks.

    Each row is written when it is there, so a run that was stopped goes on where it was.

    Args:
        array: Chip and array.
        seeds: At least one.
        again: Do all seeds, known or not.
        path: The user's table.
        progress: Called with a line of text and the share done.

    Raises:
        PluginError: Yosys or nextpnr is missing or fails.
        TargetError: The array does not fit, or the seeds make no sense.
        TableError: The table cannot be read.
        RunError: The table cannot be written.
    """
    if not 1 <= len(seeds) <= _MAX_SEEDS:
        raise TargetError(f"{len(seeds)} seeds asked for; 1 to {_MAX_SEEDS} make sense")
    where = path or default_rows_path()
    known = {row.seed for row in array_rows(array, where)}
    wanted = [seed for seed in seeds if again or seed not in known]
    if wanted:
        name = f"{array.side}x{array.side}"
        progress(f"synthesising {name}", 0.0)
        netlist = synthesise(array)
        try:
            for number, seed in enumerate(wanted):
                share = (number + 0.5) / (len(wanted) + 0.5)
                progress(f"placing and routing {name}, seed {seed}", share)
                row = netlist.place_and_route(seed)
                write_rows(where, [*read_rows(where), row])
                log.info("%s seed %d: %.1f MHz", name, seed, row.frequency_hz / 1e6)
        finally:
            shutil.rmtree(netlist.folder, ignore_errors=True)
    summary = summarise_array(array, where)
    assert summary is not None  # a seed was wanted, so there is a row
    return CharacterisedArray(array, summary, tuple(wanted), where)
