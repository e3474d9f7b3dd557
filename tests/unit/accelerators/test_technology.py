import numpy as np
import pytest

from hwnas.accelerators import available_technologies, get_technology
from hwnas.errors import TargetError

WHOLE = """
schema = 1
name = "mine"
description = "one line"
clock_hz = 1e9
reference = "made up"
[energy]
mac_j = 1e-12
l1_j_per_byte = 1e-13
l2_j_per_byte = 1e-12
[area]
pe_um2 = 100.0
l1_cell_bytes = 1
l1_cell_um2 = 1.0
l2_cell_bytes = 1
l2_cell_um2 = 1.0
"""


@pytest.mark.parametrize("name", available_technologies())
def test_every_profile_is_read_and_says_its_sources(name):
    technology = get_technology(name)

    assert technology.name == name
    assert len(technology.reference) > 100


def test_profiles_for_comparison_and_of_processes_are_there():
    assert set(available_technologies()) == {"maestro2020", "maestro2022", "phys22", "phys45"}


@pytest.mark.parametrize(
    ("name", "size_bytes", "read_j"),
    # CACTI 7, one bank, 64-bit port: energy of reading 8 bytes.
    [
        ("phys45", 2048, 2.67e-12), ("phys45", 8192, 6.05e-12), ("phys45", 65536, 21.2e-12),
        ("phys45", 131072, 37.5e-12), ("phys45", 1048576, 77.2e-12), ("phys22", 2048, 0.69e-12),
        ("phys22", 8192, 1.73e-12), ("phys22", 65536, 5.33e-12), ("phys22", 1048576, 21.1e-12),
    ],
)  # fmt: skip
def test_energy_of_a_buffer_grows_as_cacti_says(name, size_bytes, read_j):
    energy = get_technology(name).energy
    sizes = np.array([size_bytes])

    found = 8 * energy.access_j(sizes, sizes)[0, 2]

    assert found == pytest.approx(read_j, rel=0.27)


def test_a_profile_may_be_a_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(WHOLE)

    assert get_technology(str(file)).energy.mac_j == 1e-12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("schema = 1", "schema = 2"), "has schema 2; this version reads 1"),
        (("mac_j = 1e-12", "mac_j = -1.0"), "mac_j is -1.0, not a finite number"),
        (("mac_j = 1e-12", "mac_j = nan"), "mac_j is nan"),
        (("clock_hz = 1e9", "clock_hz = 0.0"), "clock_hz is 0.0, not above 0"),
        (("l1_cell_bytes = 1", "l1_cell_bytes = 0"), "l1_cell_bytes is 0, not above 0"),
        (("pe_um2 = 100.0", "pe = 100.0"), "is not a technology file"),
        (("[energy]", "[energy"), "is not a technology file"),
    ],
)
def test_a_malformed_profile_is_refused(tmp_path, change, message):
    file = tmp_path / "mine.toml"
    file.write_text(WHOLE.replace(*change))

    with pytest.raises(TargetError, match=message):
        get_technology(str(file))


def test_an_unknown_profile_is_answered_with_those_there_are():
    with pytest.raises(TargetError, match="unknown technology 'phys7'; available: maestro2020"):
        get_technology("phys7")
    with pytest.raises(TargetError, match="does not exist"):
        get_technology("nowhere.toml")
