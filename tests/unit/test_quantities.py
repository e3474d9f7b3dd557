import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.errors import QuantityError
from hwnas.quantities import (
    METRIC_DIMENSIONS,
    format_metric,
    format_quantity,
    parse_metric,
    parse_quantity,
)


@pytest.mark.parametrize(
    ("text", "dimension", "wanted"),
    [
        ("2ms", "time", 2e-3),
        (" 2 ms ", "time", 2e-3),
        (".5s", "time", 0.5),
        ("1e-3s", "time", 1e-3),
        ("3us", "time", 3e-6),
        ("3\u00b5s", "time", 3e-6),
        ("3\u03bcs", "time", 3e-6),
        ("7ns", "time", 7e-9),
        ("2min", "time", 120.0),
        ("1h", "time", 3600.0),
        ("5mJ", "energy", 5e-3),
        ("5pJ", "energy", 5e-12),
        ("4MiB", "memory", 4 * 2**20),
        ("4MB", "memory", 4e6),
        ("512B", "memory", 512.0),
        ("8e5cycles", "cycles", 8e5),
        ("2Mcycles", "cycles", 2e6),
        ("4e9um2", "area", 4e3),
        ("4e9\u00b5m2", "area", 4e3),
        ("1.5 mm2", "area", 1.5),
    ],
)
def test_a_number_with_a_unit_is_read_in_si_units(text, dimension, wanted):
    assert parse_quantity(text, dimension) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("text", ["2", "0.5", "1e3", "2 "])
def test_a_number_without_a_unit_is_refused_with_an_example(text):
    with pytest.raises(QuantityError, match=f"no unit: write for instance {text.strip()}ms"):
        parse_quantity(text, "time")


@pytest.mark.parametrize(
    ("text", "dimension"), [("2J", "time"), ("2ms", "energy"), ("2s", "memory"), ("2mb", "memory")]
)
def test_a_unit_of_another_dimension_is_refused_with_those_that_fit(text, dimension):
    with pytest.raises(QuantityError, match=f"not one of {dimension}: "):
        parse_quantity(text, dimension)


@pytest.mark.parametrize(
    "text", ["0ms", "-2ms", "inf s", "nan s", "1e999s", "1e-999s", "9" * 400 + "h"]
)
def test_what_is_not_positive_and_finite_is_refused(text):
    with pytest.raises(QuantityError):
        parse_quantity(text, "time")


@pytest.mark.parametrize("text", ["", "ms", "two ms", "2ms3", "2,5ms", "0x10ms", "--2ms", "2\0ms"])
def test_what_is_no_quantity_is_refused_with_the_units(text):
    with pytest.raises(QuantityError, match="min, h"):
        parse_quantity(text, "time")


def test_a_metric_is_read_in_its_own_dimension():
    assert parse_metric("2ms", "latency_s") == 2e-3
    assert parse_metric("1KiB", "memory_bytes") == 1024
    with pytest.raises(QuantityError):
        parse_metric("2ms", "energy_j")


@given(
    value=st.floats(1e-12, 1e15),
    dimension=st.sampled_from(sorted(set(METRIC_DIMENSIONS.values()))),
)
def test_what_is_printed_is_read_back_to_four_digits(value, dimension):
    assert parse_quantity(format_quantity(value, dimension), dimension) == pytest.approx(
        value, rel=5.1e-4
    )


@pytest.mark.parametrize(
    ("value", "metric", "wanted"),
    [
        (2e-3, "latency_s", "2 ms"),
        (1.0, "latency_s", "1 s"),
        (5e-10, "latency_s", "0.5 ns"),
        (0.0, "energy_j", "0 nJ"),
        (-2e-3, "latency_s", "-2 ms"),
        (3 * 2**20, "memory_bytes", "3 MiB"),
        (0.0123456, "error", "0.01235"),
        (math.inf, "latency_s", "inf"),
        (math.nan, "latency_s", "nan"),
    ],
)
def test_values_are_printed_in_the_unit_that_fits(value, metric, wanted):
    assert format_metric(value, metric) == wanted
