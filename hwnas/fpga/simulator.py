"""The array's RTL as a program: Verilator or Yosys' CXXRTL make C++ of it, once for each side.

Programs are kept in the user's cache folder under a hash of all that goes into them.
"""

import hashlib
import logging
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

import numpy as np
import platformdirs

from hwnas.errors import MeasurementError, PluginError
from hwnas.fpga import tools
from hwnas.fpga.cycles import LARGEST_SIDE, SMALLEST_SIDE
from hwnas.fpga.reference import Int8, QuantisedLayer
from hwnas.fpga.rtl import copy_sources, family_folder, simulated_sources
from hwnas.fpga.streams import Job, cut_layer, join_values

__all__ = ["ArraySimulator", "Kind", "SimulatedLayer", "build_simulator", "simulator_kinds"]

log = logging.getLogger(__name__)

Kind = Literal["verilator", "cxxrtl"]
_TOP = "systolic_array"
_DRIVER = "driver.cpp"
_COMPILER = "a C++ compiler (Debian: apt install g++)"
_LONGEST_CYCLES = 2**31 - 1
_SLACK_CYCLES = 1000
_MOST_TILES, _MOST_CHUNKS = 1 << 16, 1 << 8  # of the sequencer


@dataclass(frozen=True, eq=False)
class SimulatedLayer:
    """What the array gave.

    Args:
        outputs: `(pixels, channels)` int8.
        cycles: Clock edges from the start to the last output.
        predicted_cycles: What the closed form says for feeders that never wait.
    """

    outputs: Int8
    cycles: int
    predicted_cycles: int


class ArraySimulator:
    """One simulated array; a process that ends with the `with` block.

    Args:
        side: N.
        kind: What simulates; Verilator where it is installed, else CXXRTL.
        dsp_scaling: Which form of the scale's multiplier.

    Raises:
        PluginError: Neither simulator or no compiler is there, or building fails.
    """

    def __init__(self, side: int, kind: Kind | None = None, *, dsp_scaling: bool = True) -> None:
        program = build_simulator(side, kind, dsp_scaling=dsp_scaling)
        self.side = side
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def run(
        self, patches: Int8, layer: QuantisedLayer, *, stall_share: float = 0.0, seed: int = 0
    ) -> SimulatedLayer:
        """Run one layer.

        Args:
            patches: `(groups, pixels, depth)`.
            layer: The layer.
            stall_share: Share of cycles in which a feeder has nothing to offer, below 1; the
                closed form holds for 0.
            seed: Of the moments at which feeders wait.

        Raises:
            MeasurementError: The layer is too long to simulate, or the array did not finish.
        """
        job = cut_layer(patches, layer, self.side)
        values, cycles = self._run_job(job, stall_share, seed)
        return SimulatedLayer(join_values(values, patches, layer), cycles, job.cycles)

    def _run_job(self, job: Job, stall_share: float, seed: int) -> tuple[Int8, int]:
        withheld = round(256 * stall_share)
        if not 0 <= withheld < 256:
            raise MeasurementError(f"feeders that wait {stall_share} of the time never feed")
        if max(job.columns, job.rows) > _MOST_TILES or job.weights.shape[1] > _MOST_CHUNKS:
            raise MeasurementError("the layer has more tiles than the array's counters count")
        limit = _SLACK_CYCLES + job.cycles * (1 if withheld == 0 else 4 * 256 // (256 - withheld))
        if limit > _LONGEST_CYCLES:
            raise MeasurementError(f"{job.cycles} cycles are too many to simulate")
        given, taken = self._process.stdin, self._process.stdout
        assert given is not None
        assert taken is not None
        header = struct.pack(
            "<11i",
            job.weights.shape[2],
            job.columns,
            job.rows,
            job.weights.shape[1],
            job.zero_point,
            job.low,
            job.high,
            job.pixels.shape[0],
            withheld,
            seed % 2**20,
            limit,
        )
        parts = (header, job.pixels.tobytes(), job.weights.tobytes())
        try:
            for part in (*parts, job.parameters.astype("<u8").tobytes()):
                given.write(part)
            given.flush()
        except BrokenPipeError as error:
            raise MeasurementError("the simulator has ended") from error
        shape = (job.columns, job.rows, job.side, job.side)
        (cycles,) = struct.unpack("<q", _read(taken, 8))
        values = np.frombuffer(_read(taken, int(np.prod(shape))), np.int8).reshape(shape)
        if cycles < 0:
            raise MeasurementError(
                f"the simulated {job.side}x{job.side} array gave no result in {limit} cycles"
            )
        return values, cycles


def simulator_kinds() -> tuple[Kind, ...]:
    """Simulators that can be built here, the faster first."""
    kinds: list[Kind] = []
    if tools.find_compiler() is not None:
        if tools.find_verilator() is not None:
            kinds.append("verilator")
        if tools.find_yosys() is not None:
            kinds.append("cxxrtl")
    return tuple(kinds)


def build_simulator(side: int, kind: Kind | None = None, *, dsp_scaling: bool = True) -> Path:
    """The program for a side, built if it is not in the cache.

    Raises:
        PluginError: A tool is missing or fails, or there is no array of this side.
    """
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise PluginError(f"no array of side {side}; there are {SMALLEST_SIDE} to {LARGEST_SIDE}")
    if kind is None:
        found = simulator_kinds()
        if not found:
            tools.require(tools.find_compiler(), "a C++ compiler", "Debian: apt install g++")
            raise PluginError(f"neither Verilator nor Yosys is installed: {tools.EXTRA}")
        kind = found[0]
    compiler = tools.require(tools.find_compiler(), "a C++ compiler", "Debian: apt install g++")
    translator = (
        tools.require(tools.find_verilator(), "Verilator", "Debian: apt install verilator")
        if kind == "verilator"
        else tools.require(tools.find_yosys(), "Yosys")
    )
    sources = simulated_sources(dsp_scaling=dsp_scaling)
    driver = family_folder().joinpath("simulation", _DRIVER).read_bytes()
    digest = hashlib.sha256(f"{side} {kind} {translator.version} {compiler.version}".encode())
    for name in sources:
        digest.update(family_folder().joinpath("rtl", name).read_bytes())
    digest.update(driver)
    cache = Path(platformdirs.user_cache_dir("hwnas", appauthor=False)) / "simulators"
    program = cache / f"{_TOP}-{side}-{kind}-{digest.hexdigest()[:16]}"
    if program.is_file():
        return program
    log.info("building the simulator of the %dx%d array with %s", side, side, kind)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            folder = Path(name)
            copy_sources(sources, folder)
            (folder / _DRIVER).write_bytes(driver)
            if kind == "verilator":
                built = _verilate(translator, folder, sources, side)
            else:
                built = _cxxrtl(translator, compiler, folder, sources, side)
            built.replace(program)
    except OSError as error:
        raise PluginError(f"cannot build a simulator in {cache}: {error}") from error
    return program


def _cxxrtl(
    yosys: tools.Tool, compiler: tools.Tool, folder: Path, sources: tuple[str, ...], side: int
) -> Path:
    script = (
        f"read_verilog -sv {' '.join(sources)}; chparam -set N {side} {_TOP}; "
        f"hierarchy -check -top {_TOP}; proc; flatten; clean; splitnets -driver; clean; "
        f"write_cxxrtl -O6 -g0 -header {_TOP}.cc"
    )
    what = f"translating the {side}x{side} array"
    tools.run_tool(yosys, ["-q", "-p", script], folder, what)
    arguments = [
        "-std=c++17",
        "-O1",  # twice the time to compile and hardly faster beyond
        f"-DHWNAS_SIDE={side}",
        f"-I{tools.cxxrtl_headers()}",
        "-I.",
        _DRIVER,
        f"{_TOP}.cc",
        "-o",
        "simulator",
    ]
    tools.run_tool(compiler, arguments, folder, f"compiling the {side}x{side} array")
    return folder / "simulator"


def _verilate(verilator: tools.Tool, folder: Path, sources: tuple[str, ...], side: int) -> Path:
    flags = f"-DHWNAS_SIDE={side} -DHWNAS_VERILATOR -O2 -std=c++17"
    arguments = [
        "--cc",
        "--exe",
        "--build",
        "-O3",
        "--x-assign",
        "0",
        "--x-initial",
        "0",
        f"-GN={side}",
        "--top-module",
        _TOP,
        "-CFLAGS",
        flags,
        "-o",
        "simulator",
        *sources,
        _DRIVER,
    ]
    tools.run_tool(verilator, arguments, folder, f"translating the {side}x{side} array")
    return folder / "obj_dir" / "simulator"


def _read(pipe: IO[bytes], count: int) -> bytes:
    found = pipe.read(count)
    if len(found) != count:
        raise MeasurementError("the simulator ended before it gave a result")
    return found
