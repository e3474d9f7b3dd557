"""What place and route gave for arrays, seed by seed: a table that ships, and the user's own.

The clock of an array is the median over its seeds. Seeds differ by several percent for no reason
that a user could act on, so the best one would promise what the next build does not keep.
"""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

import platformdirs

from hwnas.atomic_files import replace_file
from hwnas.errors import TableError
from hwnas.fpga.rtl import family_folder, rtl_hash
from hwnas.targets import FpgaArray

__all__ = [
    "ArrayRow",
    "ArraySummary",
    "array_rows",
    "default_rows_path",
    "read_rows",
    "shipped_rows",
    "summarise_array",
    "write_rows",
]

_FILE = "characterisation.csv"
_MAX_FILE_BYTES = 1 << 22
_LARGEST = {"frequency_hz": 1e10}  # other numbers: below
_LARGEST_COUNT = 1 << 31
_LONGEST_TEXT = 64


@dataclass(frozen=True)
class ArrayRow:
    """One placement and routing.

    Args:
        family: Of the chip.
        device: Nextpnr's name of the chip.
        package: Of the chip.
        speed: Grade.
        side: N.
        seed: Of placement.
        frequency_hz: Highest clock, register to register.
        lut: Lookup tables, those in carry chains included (TRELLIS_COMB).
        ff: Flip-flops (TRELLIS_FF).
        dsp: 18 x 18 multipliers (MULT18X18D).
        bram: Block RAMs of 18 kbit (DP16KD).
        rtl: Hash of the RTL.
        yosys: Version.
        nextpnr: Version.
        date: ISO 8601.
    """

    family: str
    device: str
    package: str
    speed: int
    side: int
    seed: int
    frequency_hz: float
    lut: int
    ff: int
    dsp: int
    bram: int
    rtl: str
    yosys: str
    nextpnr: str
    date: str

    @property
    def key(self) -> tuple[str, str, str, int, int, int, str]:
        """What makes two rows the same run; a later one takes the place of an earlier."""
        return (
            self.family,
            self.device,
            self.package,
            self.speed,
            self.side,
            self.seed,
            self.rtl,
        )

    def is_of(self, device: FpgaArray) -> bool:
        """Whether it is of this chip and array."""
        return self.key[:5] == (
            device.family,
            device.device,
            device.package,
            device.speed,
            device.side,
        )


@dataclass(frozen=True)
class ArraySummary:
    """All seeds of one array on one chip.

    Args:
        frequency_hz: Median, which is what latency is computed with.
        best_frequency_hz: Highest.
        seeds: How many.
        rows: Theirs.
    """

    frequency_hz: float
    best_frequency_hz: float
    seeds: int
    rows: tuple[ArrayRow, ...]


def default_rows_path() -> Path:
    """The user's table."""
    return Path(platformdirs.user_data_dir("hwnas", appauthor=False)) / f"fpga-{_FILE}"


def shipped_rows() -> tuple[ArrayRow, ...]:
    """Rows that come with hwnas."""
    content = family_folder().joinpath(_FILE).read_bytes()
    return _parse(content, f"shipped {_FILE}")


def read_rows(path: Path) -> tuple[ArrayRow, ...]:
    """Rows of a file; none if there is none.

    Raises:
        TableError: It cannot be read or is not such a table.
    """
    try:
        if not path.is_file():
            return ()
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error}") from error
    return _parse(content, str(path))


def write_rows(path: Path, rows: Iterable[ArrayRow]) -> None:
    """Replace a file by these rows, sorted; of rows with equal keys the last one stays."""
    kept = {row.key: row for row in rows}
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ArrayRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(kept[key]) for key in sorted(kept))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: file.write(text.getvalue().encode()))


def array_rows(device: FpgaArray, path: Path | None = None) -> tuple[ArrayRow, ...]:
    """Rows of this chip and array with the present RTL, the user's over those that ship.

    Args:
        device: Chip and array.
        path: The user's table.

    Raises:
        TableError: The user's table is not one.
    """
    both = (*shipped_rows(), *read_rows(path or default_rows_path()))
    merged = {row.key: row for row in both if row.is_of(device) and row.rtl == rtl_hash()}
    return tuple(merged[key] for key in sorted(merged))


def summarise_array(device: FpgaArray, path: Path | None = None) -> ArraySummary | None:
    """Clock of an array, or None if nobody has characterised it."""
    rows = array_rows(device, path)
    if not rows:
        return None
    clocks = [row.frequency_hz for row in rows]
    return ArraySummary(median(clocks), max(clocks), len(rows), rows)


def _parse(content: bytes, where: str) -> tuple[ArrayRow, ...]:
    if len(content) > _MAX_FILE_BYTES:
        raise TableError(f"{where} has over {_MAX_FILE_BYTES} bytes; it is no table of arrays")
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8")), strict=True)
        wanted = [field.name for field in fields(ArrayRow)]
        if list(reader.fieldnames or ()) != wanted:
            raise TableError(f"{where} has columns {reader.fieldnames}, not {wanted}")
        return tuple(_row(entry, f"{where}, line {reader.line_num}") for entry in reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{where} is not a CSV file: {error}; move it away") from error


def _row(entry: dict[str, str], where: str) -> ArrayRow:
    values: dict[str, str | int | float] = {}
    for field in fields(ArrayRow):
        text = entry.get(field.name)
        if text is None or None in entry or not 0 < len(text) <= _LONGEST_TEXT:
            raise TableError(f"{where}: {field.name} is {text!r}; move the file away")
        try:
            value = field.type(text) if callable(field.type) else text
        except ValueError as error:
            raise TableError(f"{where}: {field.name} is {text!r}; move the file away") from error
        if isinstance(value, int | float):
            limit = _LARGEST.get(field.name, _LARGEST_COUNT)
            if not (math.isfinite(value) and 0 <= value <= limit):
                raise TableError(f"{where}: {field.name} is {text}; move the file away")
        values[field.name] = value
    if not values["frequency_hz"]:
        raise TableError(f"{where}: frequency_hz is 0; move the file away")
    return ArrayRow(**values)  # type: ignore[arg-type]  # each was made by its field's type
