from dataclasses import replace

import pytest

from hwnas.errors import TableError
from hwnas.fpga import array_rows, read_rows, rtl_hash, summarise_array, write_rows
from hwnas.fpga.characterisation import ArrayRow, shipped_rows
from hwnas.targets import FpgaArray, available_targets, get_target

DEVICE = FpgaArray("ecp5", "45k", "CABGA381", 6, 72, 3)
ROW = ArrayRow(
    *("ecp5", "45k", "CABGA381", 6, 3, 1, 110e6),
    *(3000, 2500, 12, 6, rtl_hash(), "0.70", "0.11", "2026-11-28"),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.csv"


def test_rows_are_read_as_they_were_written(path):
    rows = [replace(ROW, seed=seed, frequency_hz=1e8 / 3 * seed) for seed in (2, 1)]

    write_rows(path, rows)

    assert read_rows(path) == tuple(rows[::-1])


def test_a_later_row_of_the_same_run_takes_the_place_of_the_earlier(path):
    write_rows(path, [ROW, replace(ROW, frequency_hz=1e6), replace(ROW, seed=2)])

    assert [row.frequency_hz for row in read_rows(path)] == [1e6, 110e6]


def test_the_clock_is_the_median_over_seeds_of_the_present_rtl(path):
    clocks = (90e6, 120e6, 100e6)
    rows = [replace(ROW, seed=seed, frequency_hz=clock) for seed, clock in enumerate(clocks)]
    others = [
        replace(ROW, seed=9, rtl="0" * 12),
        replace(ROW, seed=9, side=4),
        replace(ROW, seed=9, device="85k"),
    ]
    write_rows(path, [*rows, *others])

    found = summarise_array(DEVICE, path)

    assert (found.frequency_hz, found.best_frequency_hz, found.seeds) == (100e6, 120e6, 3)
    assert list(array_rows(DEVICE, path)) == rows


def test_an_array_that_nobody_characterised_has_no_clock(path):
    assert summarise_array(DEVICE, path) is None


@pytest.mark.parametrize(
    "name", [name for name in available_targets() if get_target(name).fpga is not None]
)
def test_a_shipped_device_is_characterised_with_the_present_rtl(name, path):
    device = get_target(name).fpga
    found = summarise_array(device, path)  # without the user's rows

    assert found is not None
    assert found.frequency_hz >= {4: 120e6, 8: 100e6}[device.side]
    assert all(device.side**2 <= row.dsp <= device.dsp_blocks for row in found.rows)


def test_shipped_rows_are_whole_and_of_one_rtl():
    rows = shipped_rows()

    assert len({row.key for row in rows}) == len(rows)
    assert {row.rtl for row in rows} == {rtl_hash()}
    assert all(row.bram == 2 * row.side for row in rows)
    assert {row.dsp - row.side**2 for row in rows} <= {0, *(row.side for row in rows)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("frequency_hz", "clock", "has columns"),
        ("110000000.0", "nan", "frequency_hz is nan"),
        ("110000000.0", "-1", "frequency_hz is -1"),
        ("110000000.0", "0", "frequency_hz is 0"),
        ("110000000.0", "fast", "frequency_hz is 'fast'"),
        ("3000", "99999999999999", "lut is 99999999999999"),
        (",12,", ",12,7,", "move the file away"),
        ("2026-11-28", "", "date is ''"),
        ("CABGA381", "C" * 100, "package is"),
        ("CABGA381", '"CABGA381', "is not a CSV file"),
    ],
)
def test_a_table_that_is_none_is_refused_with_its_line(path, old, new, message):
    write_rows(path, [ROW])
    path.write_text(path.read_text().replace(old, new))

    with pytest.raises(TableError, match=message):
        read_rows(path)


def test_a_table_that_is_no_text_or_too_large_is_refused(path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TableError, match="is not a CSV file"):
        read_rows(path)

    path.write_bytes(b"x" * (1 << 22) + b"x")
    with pytest.raises(TableError, match="has over"):
        read_rows(path)
