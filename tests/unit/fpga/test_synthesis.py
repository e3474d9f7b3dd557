import json
from pathlib import Path

import msgspec
import pytest

from hwnas.errors import PluginError, TargetError
from hwnas.fpga import rtl_hash, tools
from hwnas.fpga.synthesis import Synthesis, check_fits, parse_report, scales_in_dsp, synthesise
from hwnas.targets import FpgaArray

DEVICE = FpgaArray("ecp5", "25k", "CABGA381", 6, 28, 4)
REPORT = {
    "fmax": {"$glbnet$clock": {"achieved": 121.5, "constraint": 150}},
    "utilization": {
        "TRELLIS_COMB": {"used": 6000, "available": 24288},
        "TRELLIS_FF": {"used": 4500, "available": 24288},
        "MULT18X18D": {"used": 20, "available": 28},
        "DP16KD": {"used": 8, "available": 56},
        "GSR": {"used": 0, "available": 1},
    },
}


def side(number):
    return msgspec.structs.replace(DEVICE, side=number)


def test_a_report_becomes_a_row():
    row = parse_report(json.dumps(REPORT).encode(), DEVICE, 3, "0.70", "0.11")

    assert row.is_of(DEVICE)
    assert (row.seed, row.frequency_hz) == (3, 121.5e6)
    assert (row.lut, row.ff, row.dsp, row.bram) == (6000, 4500, 20, 8)
    assert (row.rtl, row.yosys, row.nextpnr) == (rtl_hash(), "0.70", "0.11")


@pytest.mark.parametrize(
    "report",
    [
        {},
        {**REPORT, "fmax": {}},
        {**REPORT, "utilization": {}},
        {**REPORT, "fmax": {"clock": {"achieved": "fast"}}},
        [REPORT],
    ],
)
def test_what_is_no_report_is_refused(report):
    with pytest.raises(PluginError, match="report cannot be read"):
        parse_report(json.dumps(report).encode(), DEVICE, 1, "0.70", "0.11")


def test_arrays_that_are_too_large_are_refused_with_the_largest_that_fits():
    with pytest.raises(
        TargetError, match=r"6x6 array needs 36 DSP blocks.*28: 5x5 is the largest"
    ):
        check_fits(side(6))


def test_scales_take_dsp_blocks_only_where_some_are_left():
    assert scales_in_dsp(side(4))
    assert not scales_in_dsp(side(5))


def test_missing_tools_are_named_with_their_extra(monkeypatch):
    monkeypatch.setattr(tools, "find_yosys", lambda: None)
    with pytest.raises(PluginError, match=r"Yosys is not installed: pip install 'hwnas\[fpga\]'"):
        synthesise(DEVICE)

    monkeypatch.setattr(tools, "find_nextpnr", lambda: None)
    with pytest.raises(PluginError, match="nextpnr is not installed"):
        Synthesis(DEVICE, Path(), "0.70").place_and_route(1)


def test_a_tool_that_fails_is_named_with_its_last_lines(tmp_path):
    script = "import sys; print('no such cell'); sys.exit(3)"
    tool = tools.Tool("yosys", "0.70", ("python3", "-c", script))

    with pytest.raises(PluginError, match=r"synthesising failed: yosys .* ended with 3:\nno such"):
        tools.run_tool(tool, [], tmp_path, "synthesising")
