"""Synthesis, placement and routing of one array with one seed: minutes of real work.

Only paths from register to register count. The array sits in a harness that stands for pins, whose
registers are part of the counts (`targets/ecp5/rtl/characterisation_harness.sv`).
"""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hwnas.errors import PluginError, TargetError
from hwnas.fpga import tools
from hwnas.fpga.characterisation import ArrayRow
from hwnas.fpga.rtl import copy_sources, rtl_hash, synthesised_sources
from hwnas.targets import FpgaArray

__all__ = ["Synthesis", "check_fits", "parse_report", "scales_in_dsp", "synthesise"]

TARGET_FREQUENCY_HZ = 150e6
"""What the tools are asked for: above what they reach, so that they never stop early."""
_TOP = "characterisation_harness"
_MAX_REPORT_BYTES = 1 << 28
_CELLS = {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "dsp": "MULT18X18D", "bram": "DP16KD"}


class _Clock(msgspec.Struct):
    achieved: float


class _Use(msgspec.Struct):
    used: int
    available: int


class _Report(msgspec.Struct):
    """What of nextpnr's report is read."""

    fmax: dict[str, _Clock]
    utilization: dict[str, _Use]


@dataclass(frozen=True)
class Synthesis:
    """A netlist, from which any number of seeds are placed and routed.

    Args:
        device: Chip and array.
        folder: Where it lies; the caller removes it.
        yosys: Version that made it.
    """

    device: FpgaArray
    folder: Path
    yosys: str

    def place_and_route(self, seed: int) -> ArrayRow:
        """One row.

        Raises:
            PluginError: Nextpnr is missing, fails, or reports what cannot be read.
        """
        device = self.device
        nextpnr = tools.require(tools.find_nextpnr(), "nextpnr")
        report = f"report-{seed}.json"
        arguments = [
            f"--{device.device}",
            "--package",
            device.package,
            "--speed",
            str(device.speed),
            "--json",
            "netlist.json",
            "--seed",
            str(seed),
            "--freq",
            f"{TARGET_FREQUENCY_HZ / 1e6:g}",
            "--report",
            report,
            "--timing-allow-fail",
            "--lpf-allow-unconstrained",
        ]
        what = f"placing and routing the {device.side}x{device.side} array"
        tools.run_tool(nextpnr, arguments, self.folder, what)
        return parse_report(
            (self.folder / report).read_bytes(), device, seed, self.yosys, nextpnr.version
        )


def check_fits(device: FpgaArray) -> None:
    """Whether the chip has a DSP block for each place of the array.

    Raises:
        TargetError: It has not; the largest array that fits is named.
    """
    if device.side**2 > device.dsp_blocks:
        largest = int(device.dsp_blocks**0.5)
        raise TargetError(
            f"a {device.side}x{device.side} array needs {device.side**2} DSP blocks and "
            f"{device.family} {device.device} has {device.dsp_blocks}: "
            f"{largest}x{largest} is the largest that fits"
        )


def scales_in_dsp(device: FpgaArray) -> bool:
    """Whether a DSP block is left for the scale of each column."""
    return device.side**2 + device.side <= device.dsp_blocks


def synthesise(device: FpgaArray) -> Synthesis:
    """Netlist of an array in a new temporary folder.

    Raises:
        TargetError: The array does not fit.
        PluginError: A tool is missing or fails.
    """
    check_fits(device)
    yosys = tools.require(tools.find_yosys(), "Yosys")
    tools.require(tools.find_nextpnr(), "nextpnr")
    folder = Path(tempfile.mkdtemp(prefix="hwnas-fpga-"))
    sources = synthesised_sources(dsp_scaling=scales_in_dsp(device))
    script = (
        f"read_verilog -sv {' '.join(sources)}; chparam -set N {device.side} {_TOP}; "
        f"synth_ecp5 -top {_TOP} -json netlist.json"
    )
    what = f"synthesising the {device.side}x{device.side} array"
    try:
        copy_sources(sources, folder)
        tools.run_tool(yosys, ["-q", "-p", script], folder, what)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Synthesis(device, folder, yosys.version)


def parse_report(
    content: bytes, device: FpgaArray, seed: int, yosys: str, nextpnr: str
) -> ArrayRow:
    """A row from nextpnr's JSON report.

    Raises:
        PluginError: It is not such a report.
    """
    if len(content) > _MAX_REPORT_BYTES:
        raise PluginError(f"nextpnr's report has {len(content)} bytes")
    try:
        report = msgspec.json.decode(content, type=_Report)
        used = {name: report.utilization[cell].used for name, cell in _CELLS.items()}
        fastest = min(clock.achieved for clock in report.fmax.values())
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise PluginError(f"nextpnr's report cannot be read: {error}") from error
    return ArrayRow(
        family=device.family,
        device=device.device,
        package=device.package,
        speed=device.speed,
        side=device.side,
        seed=seed,
        frequency_hz=fastest * 1e6,
        **used,
        rtl=rtl_hash(),
        yosys=yosys,
        nextpnr=nextpnr,
        date=datetime.now(UTC).date().isoformat(),
    )
