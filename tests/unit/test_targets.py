import string
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas import plugins as plugins_module
from hwnas.errors import PluginError, TargetError
from hwnas.targets import Settings, available_targets, get_target, machine, registry

GOOD = """
schema = 1
name = "mine"
description = "mine"
backend = "simulated"
[peak]
macs_per_s = 1e9
bandwidth_bytes_per_s = 1e9
kernel_overhead_s = 0.0
[energy]
source = "model"
energy_j_per_mac = 1e-12
energy_j_per_byte = 1e-12
reference = "none"
"""

FPGA = """
[runtime]
precision = "int8"

[fpga]
family = "ecp5"
device = "25k"
package = "CABGA381"
speed = 6
dsp_blocks = 28
side = 4
"""
BOARD = """
[remote]
key = "pi"
[processor]
architecture = "aarch64"
cpu = "cortex-a72"
features = ["+neon"]
triple = "aarch64-linux-gnu"
cores = 4
clock_hz = 1e9
reference = "a book"
"""


GPU = """
[runtime]
precision = "float16"
[gpu]
product = "NVIDIA X1"
architecture = "sm_90"
batch = 8
[gpu.flops_per_s]
float16 = 1e15
"""


@pytest.fixture
def device(tmp_path):
    def write(text):
        path = tmp_path / "device.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


class FakeEntry:
    def __init__(self, value):
        self.value = str(value)
        self.load = lambda: value


@pytest.mark.parametrize("name", available_targets())
def test_every_shipped_device_loads_under_its_own_name(name):
    target = get_target(name)

    assert target.name == name
    assert target.description
    assert target.energy.reference
    assert len(target.fingerprint) == 16
    assert set(target.fingerprint) <= set(string.hexdigits.lower())


def test_an_unknown_device_is_answered_with_those_there_are():
    with pytest.raises(TargetError, match=r"unknown target 'zcu012'; .*cpu, .*simulated"):
        get_target("zcu012")


def test_a_device_is_read_from_a_file(device):
    assert get_target(device(GOOD)).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("schema = 1", "schema = 2"), "has schema 2; this version reads 1"),
        (GOOD.replace('name = "mine"', "name = 3"), "not a device file"),
        (GOOD.replace('name = "mine"\n', ""), "missing required field `name`"),
        (GOOD.replace("[peak]", "[peaks]"), "unknown field `peaks`"),
        (GOOD + "more = 1\n", "unknown field `more`"),
        (GOOD.replace('"model"', '"guess"'), "not a device file"),
        (GOOD + '[runtime]\nprecision = "int4"\n', "not a device file"),
        (GOOD + '[runtime]\nprecision = "int8"\n', "int8 is that of targets with .fpga."),
        (GOOD + FPGA.replace("int8", "float32"), "int8 is that of targets with .fpga."),
        (GOOD + FPGA.replace('"25k"', '"999k"'), "not a device file"),
        (GOOD + FPGA.replace("speed = 6", "speed = 9"), "not a device file"),
        (GOOD + FPGA.replace("CABGA381", "x --json"), "package 'x --json' is none"),
        (GOOD + FPGA.replace("dsp_blocks = 28", "dsp_blocks = 0"), "0 DSP blocks"),
        (GOOD + FPGA.replace("side = 4", "side = 17"), "array side 17; 2 to 16"),
        (GOOD + "[runtime]\nthreads = 0\n", "0 threads"),
        (GOOD.replace("macs_per_s = 1e9", "macs_per_s = 0.0"), "rate in .peak. is 0"),
        (GOOD.replace("macs_per_s = 1e9", "macs_per_s = nan"), "macs_per_s is nan"),
        (GOOD.replace("_per_mac = 1e-12", "_per_mac = -1.0"), "energy_j_per_mac is -1"),
        (GOOD + '[processor]\narchitecture = "z80"\n', "not a device file"),
        (GOOD + BOARD + "colour = 1\n", "unknown field `colour`"),
        (GOOD + BOARD.replace("cortex-a72", "a72 -O3"), "cpu 'a72 -O3' is none"),
        (GOOD + BOARD.replace("+neon", "neon"), "feature 'neon' is none"),
        (GOOD + BOARD.replace("+neon", "+neon,+x"), "feature .* is none"),
        (GOOD + BOARD.replace("aarch64-linux", "x86_64-linux"), "triple .* is not of aarch64"),
        (GOOD + BOARD.replace("linux-gnu", "linux gnu"), "triple .* is none"),
        (GOOD + BOARD.replace("cores = 4", "cores = 0"), "0 cores; 1 to 1024"),
        (GOOD + BOARD.replace("clock_hz = 1e9", "clock_hz = inf"), "clock_hz is inf"),
        (GOOD + BOARD.replace('key = "pi"', 'key = "a b"'), "key 'a b' is none"),
        ("schema = ", "not a device file"),
        ("a = " + "[" * 100_000, "not a device file"),
        (b"\xff\xfe", "not a device file"),
        ("", "not a device file"),
        ("#" * (1 << 20) + "\n" + GOOD, "over 1048576 bytes"),
    ],
)
def test_a_malformed_device_file_is_refused_by_name(device, text, message):
    with pytest.raises(TargetError, match=message) as caught:
        get_target(device(text))

    assert "device.toml" in str(caught.value) or "threads" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TargetError, match=r"none\.toml' does not exist"):
        get_target(str(tmp_path / "none.toml"))


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_device_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("device") / "device.toml"
    path.write_bytes(content)

    with pytest.raises(TargetError):
        get_target(str(path))


def test_the_fingerprint_is_stable_and_changes_with_the_threads(device):
    target = get_target(device(GOOD))

    assert target.fingerprint == get_target(device(GOOD)).fingerprint
    assert target.with_threads(1).fingerprint == target.fingerprint
    assert len({target.with_threads(n).fingerprint for n in range(1, 9)}) == 8


def test_a_processor_decides_numbers_but_its_reference_and_the_tracker_do_not(device):
    plain, board = get_target(device(GOOD)), get_target(device(GOOD + BOARD))
    reworded = get_target(device(GOOD + BOARD.replace("a book", "b").replace('"pi"', '"lab"')))
    changed = [
        get_target(device(GOOD + BOARD.replace(old, new)))
        for old, new in (
            ("cortex-a72", "cortex-a76"),
            ("+neon", "+sve"),
            ("cores = 4", "cores = 2"),
            ("1e9", "2e9"),
        )
    ]

    assert board.fingerprint == reworded.fingerprint
    assert reworded.remote.key == "lab"
    assert len({target.fingerprint for target in (plain, board, *changed)}) == 6


def test_what_a_device_file_may_leave_out_leaves_its_fingerprint_alone():
    # Rows measured before targets could name a processor are found again.
    assert get_target("simulated").fingerprint == "920b1d5d415b5df9"


@pytest.mark.parametrize("name", available_targets())
def test_a_shipped_board_says_what_it_is_and_where_its_numbers_come_from(name):
    target = get_target(name)
    if target.remote is None:
        pytest.skip("it is not reached through a tracker")

    readme = Path(__file__).parents[2] / "targets" / name / "README.md"

    assert target.remote.key == name
    assert target.processor.architecture == "aarch64"
    assert target.processor.triple.startswith("aarch64-linux-")
    assert target.processor.reference
    assert "generic" in target.energy.reference
    assert "| Energy per operation and byte | as for `cpu` | generic" in readme.read_text()


def test_the_fingerprint_of_a_device_elsewhere_does_not_depend_on_this_machine(monkeypatch):
    before = {name: get_target(name).fingerprint for name in ("cpu", "simulated")}

    monkeypatch.setattr(machine, "processor", lambda: "another processor")

    assert get_target("simulated").fingerprint == before["simulated"]
    assert get_target("simulated").host == ""
    assert get_target("cpu").fingerprint != before["cpu"]
    assert get_target("cpu").host == "another processor"


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_thread_counts_that_make_no_sense_are_refused(threads):
    with pytest.raises(TargetError, match=f"{threads} threads asked for; 1 to 1024"):
        get_target("cpu").with_threads(threads)


def test_no_thread_count_changes_nothing():
    target = get_target("cpu")

    assert target.with_threads(None) is target
    assert target.with_threads(4).runtime.threads == 4
    assert target.runtime.threads == 1


def test_a_gpu_runs_as_it_is_told(device):
    target = get_target(device(GOOD + GPU))

    told = target.with_settings(Settings(batch=64, precision="tf32", runtime="tvm"))

    assert (told.gpu.batch, told.runtime.precision, told.gpu.runtime) == (64, "tf32", "tvm")
    assert told.gpu.product == "NVIDIA X1"
    assert told.how == "batch 64, tf32, tvm"
    assert target.with_settings(Settings()) is target


def test_each_way_of_running_has_numbers_of_its_own(device):
    target = get_target(device(GOOD + GPU))
    settings = (
        Settings(),
        Settings(batch=1),
        Settings(precision="float32"),
        Settings(runtime="onnxruntime"),
    )

    assert len({target.with_settings(each).fingerprint for each in settings}) == 4
    faster = get_target(device(GOOD + GPU.replace("1e15", "2e15")))
    assert faster.fingerprint == target.fingerprint


@pytest.mark.parametrize(
    "settings", [Settings(batch=2), Settings(precision="float16"), Settings(runtime="torch")]
)
def test_what_is_for_gpus_is_refused_elsewhere(settings):
    with pytest.raises(TargetError, match="'cpu' is no GPU"):
        get_target("cpu").with_settings(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(batch=0), "a batch of 0 asked for; 1 to 256"),
        (Settings(batch=257), "a batch of 257 asked for; 1 to 256"),
        (Settings(precision="int8"), "int8 is not measured on GPUs"),
    ],
)
def test_ways_of_running_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(TargetError, match=message):
        get_target("nvidia_h200").with_settings(settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GPU.replace("batch = 8", "batch = 0"), "batch 0; 1 to 256"),
        (GPU.replace("sm_90", "sm_90;x"), "architecture 'sm_90;x' is none"),
        (GPU.replace("1e15", "inf"), "float16 is inf, not a finite number"),
        (GPU.replace("float16 = 1e15", "float99 = 1e15"), "float99"),
        (GPU.replace('"float16"', '"int8"'), "precision int8 is that of targets with"),
        ('[runtime]\nprecision = "tf32"\n', "precision tf32 is for targets with"),
    ],
)
def test_a_gpus_device_file_is_checked(device, text, message):
    with pytest.raises(TargetError, match=message):
        get_target(device(GOOD + text))


def test_energy_of_gpus_is_for_gpus_alone(device):
    with pytest.raises(TargetError, match="energy source nvml is for targets with"):
        get_target(device(GOOD.replace('"model"', '"nvml"')))


def test_the_local_gpu_has_the_name_of_the_board_in_its_fingerprint(monkeypatch):
    monkeypatch.setattr(machine, "graphics_processor", lambda: "NVIDIA X1")
    one = get_target("cuda").fingerprint
    monkeypatch.setattr(machine, "graphics_processor", lambda: "NVIDIA X2")

    assert get_target("cuda").fingerprint != one
    assert get_target("cuda").host == "NVIDIA X2"


@pytest.mark.parametrize("name", [n for n in available_targets() if n.startswith("nvidia_")])
def test_a_shipped_gpu_says_what_it_is_and_where_its_numbers_come_from(name):
    gpu = get_target(name).gpu

    assert gpu.product.startswith("NVIDIA ")
    assert gpu.reference
    assert set(gpu.flops_per_s) == {"float32", "tf32", "float16", "bfloat16"}
    assert gpu.l2_bytes % 2**20 == 0


def test_a_target_round_trips_through_json():
    target = get_target("cpu").with_threads(3)

    assert msgspec.json.decode(msgspec.json.encode(target), type=type(target)) == target


def test_a_plug_in_brings_a_device(monkeypatch, tmp_path):
    (tmp_path / "device.toml").write_text(GOOD)
    entries = {"mine": FakeEntry(tmp_path), "bad": FakeEntry(3), "empty": FakeEntry("/nowhere")}
    monkeypatch.setattr(plugins_module, "plugins", lambda group: entries)
    monkeypatch.setattr(registry, "plugins", lambda group: entries)

    assert "mine" in available_targets()
    assert get_target("mine").name == "mine"
    with pytest.raises(PluginError, match="must name a folder"):
        get_target("bad")
    with pytest.raises(TargetError, match="cannot read device file"):
        get_target("empty")


def test_a_plug_ins_device_must_carry_the_plug_ins_name(monkeypatch, tmp_path):
    (tmp_path / "device.toml").write_text(GOOD)
    entries = {"other": FakeEntry(tmp_path)}
    monkeypatch.setattr(plugins_module, "plugins", lambda group: entries)
    monkeypatch.setattr(registry, "plugins", lambda group: entries)

    with pytest.raises(TargetError, match="calls itself 'mine', its folder 'other'"):
        get_target("other")
