import numpy as np
import pytest

from hwnas.accelerators import AcceleratorPoints, get_technology, points_of, points_of_options
from hwnas.errors import SpaceError
from hwnas.spaces import get_hardware_space


def test_every_chip_finds_its_sub_accelerators_among_the_options():
    space = get_hardware_space("accelerator")
    points = points_of_options(space)
    drawn = space.sample(300, np.random.default_rng(0))

    places = points_of(space, drawn)

    for row, chip in zip(drawn, places, strict=True):
        options = space.options(space.architecture(row))
        for index, place in enumerate(chip.tolist(), 1):
            if place < 0:
                assert options[f"sub{index}.pes"] == 0
                continue
            assert points.dataflow[place] == space.dataflows.index(options[f"sub{index}.dataflow"])
            assert points.pes[place] == options[f"sub{index}.pes"]
            assert points.bandwidth[place] == options[f"sub{index}.bandwidth"]


def test_areas_are_those_of_the_published_chips():
    # NASAIC's table for its first workload has 4.71e9, 3.82e9 and 2.03e9 um2; the area model gives
    # 4.52e9, 3.68e9 and 1.90e9 for the same chips with one cell of buffer a PE.
    points = AcceleratorPoints.of(
        ["dla", "shi"] * 3, [2112, 1984, 1088, 2368, 576, 1792], [48, 16, 24, 40, 56, 8]
    )

    chips = points.area_mm2(get_technology("maestro2020")).reshape(3, 2).sum(axis=1)

    np.testing.assert_allclose(chips, [4525.0, 3681.0, 1902.3], rtol=1e-4)


def test_numbers_serve_all_points_and_columns_each_their_own():
    points = AcceleratorPoints.of(["dla", "rs"], 128, [8, 16])

    assert points.pes.tolist() == [128, 128]
    assert points.bandwidth.tolist() == [8, 16]
    assert points.l1_bytes.tolist() == [64, 256]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["dla"], 0, 8), "accelerator 0 has pes 0, at least 1 is needed"),
        ((["dla"], 64, 0), "accelerator 0 has bandwidth 0, at least 1"),
        ((["dla", "shi"], [64, -1], 8), "accelerator 1 has pes -1"),
        ((["nvdla"], 64, 8), "unknown dataflow 'nvdla'; available: dla, shi, rs"),
        ((["dla", "shi"], [64, 64, 64], 8), "column pes of accelerators has another length"),
    ],
)
def test_impossible_accelerators_are_refused(arguments, message):
    with pytest.raises(SpaceError, match=message):
        AcceleratorPoints.of(*arguments)
