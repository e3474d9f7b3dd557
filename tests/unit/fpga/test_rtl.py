import subprocess

import pytest

from hwnas.fpga import rtl
from hwnas.fpga.rtl import copy_sources, family_folder, simulated_sources, synthesised_sources
from hwnas.fpga.tools import find_verilator


def test_every_file_of_the_rtl_is_read_for_something():
    used = {
        name
        for dsp in (True, False)
        for name in (*simulated_sources(dsp_scaling=dsp), *synthesised_sources(dsp_scaling=dsp))
    }

    assert used == {file.name for file in family_folder().joinpath("rtl").iterdir()}


def test_the_hash_sees_code_and_no_comments(tmp_path, monkeypatch):
    folder = tmp_path / "rtl"
    folder.mkdir()
    names = {*synthesised_sources(dsp_scaling=True), *simulated_sources(dsp_scaling=False)}
    copy_sources(tuple(names), folder)
    monkeypatch.setattr(rtl, "family_folder", lambda: tmp_path)
    before = rtl.rtl_hash.__wrapped__()

    source = folder / "sequencer.sv"
    source.write_text("// another comment\n\n" + source.read_text())
    commented = rtl.rtl_hash.__wrapped__()
    source.write_text(source.read_text().replace("2 * N", "3 * N"))

    assert commented == before
    assert rtl.rtl_hash.__wrapped__() != before


@pytest.mark.skipif(find_verilator() is None, reason="needs Verilator")
def test_verilator_has_nothing_to_say_against_the_rtl():
    command = [
        *("verilator", "--lint-only", "-Wall", "-Wno-UNUSEDSIGNAL", "-Wno-VARHIDDEN"),
        *("--top-module", "systolic_array", *simulated_sources()),
    ]

    done = subprocess.run(
        command, cwd=family_folder().joinpath("rtl"), capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
