"""The array's SystemVerilog, `targets/ecp5/rtl/`: which files serve for what, and their hash."""

import hashlib
import re
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

__all__ = [
    "RTL_NAME",
    "RTL_VERSION",
    "copy_sources",
    "family_folder",
    "rtl_hash",
    "simulated_sources",
    "synthesised_sources",
]

RTL_NAME, RTL_VERSION = "systolic", "1"

_ARRAY = (
    "int8_multiplier.sv",
    "processing_element.sv",
    "operand_bank.sv",
    "operand_stream.sv",
    "sequencer.sv",
    "parameter_stream.sv",
    "requantiser.sv",
    "systolic_array.sv",
)
_COMMENT = re.compile(r"//[^\n]*")


def family_folder(family: str = "ecp5") -> Traversable:
    """Where the files of a family lie."""
    return files("hwnas.data").joinpath("targets").joinpath(family)


def simulated_sources(*, dsp_scaling: bool = True) -> tuple[str, ...]:
    """Files that simulators read.

    Args:
        dsp_scaling: Whether each column multiplies by its scale in a DSP block.
    """
    return ("dsp_multiplier.sv", _scaling(dsp_scaling), *_ARRAY)


def synthesised_sources(*, dsp_scaling: bool) -> tuple[str, ...]:
    """Files that synthesis reads: the DSP block by name, and pins around the array."""
    return (
        "dsp_multiplier_ecp5.sv",
        _scaling(dsp_scaling),
        *_ARRAY,
        "characterisation_harness.sv",
    )


@lru_cache(maxsize=1)
def rtl_hash() -> str:
    """12 hexadecimal digits over all code; comments and blanks do not count."""
    digest = hashlib.sha256()
    names = {*synthesised_sources(dsp_scaling=True), *simulated_sources(dsp_scaling=False)}
    for name in sorted(names):
        code = _COMMENT.sub("", family_folder().joinpath("rtl", name).read_text(encoding="utf-8"))
        digest.update(f"{name} {' '.join(code.split())}\n".encode())
    return digest.hexdigest()[:12]


def copy_sources(names: tuple[str, ...], folder: Path) -> None:
    """Copy files where a tool runs, because some tools see nothing but their own folder."""
    for name in names:
        content = family_folder().joinpath("rtl", name).read_bytes()
        (folder / name).write_bytes(content)


def _scaling(dsp_scaling: bool) -> str:
    return "scale_multiplier.sv" if dsp_scaling else "scale_multiplier_adders.sv"
