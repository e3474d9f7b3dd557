import pytest

from hwnas.errors import MeasurementError
from hwnas.profiling.rapl import RaplCounter, find_rapl


@pytest.fixture
def powercap(tmp_path):
    """Two packages, one of them with a core zone, which is part of its package."""
    for name, energy in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 5_000_000)):
        zone = tmp_path / name
        zone.mkdir()
        (zone / "energy_uj").write_text(f"{energy}\n")
        (zone / "max_energy_range_uj").write_text("10000000\n")
    core = tmp_path / "intel-rapl:0:0"
    core.mkdir()
    (core / "energy_uj").write_text("999\n")
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def set_energy(powercap, package, uj):
    (powercap / f"intel-rapl:{package}" / "energy_uj").write_text(f"{uj}\n")


def test_packages_are_found_and_their_parts_are_not(powercap):
    counter = find_rapl(powercap)

    assert [zone.name for zone in counter.zones] == ["intel-rapl:0", "intel-rapl:1"]
    assert counter.read_j() == pytest.approx((1.0, 5.0))


def test_used_energy_is_summed_over_packages(powercap):
    counter = find_rapl(powercap)
    before = counter.read_j()

    set_energy(powercap, 0, 1_500_000)
    set_energy(powercap, 1, 7_000_000)

    assert counter.used_j(before) == pytest.approx(2.5)


def test_a_counter_that_wrapped_around_is_undone(powercap):
    counter = find_rapl(powercap)
    before = counter.read_j()

    set_energy(powercap, 1, 250_000)

    assert counter.used_j(before) == pytest.approx(10.0 - 5.0 + 0.25)


def test_machines_without_readable_counters_have_none(tmp_path, powercap):
    assert find_rapl(tmp_path / "nothing") is None
    assert find_rapl(powercap / "intel-rapl") is None
    (powercap / "intel-rapl:1" / "energy_uj").write_text("not a number")
    assert find_rapl(powercap) is None


@pytest.mark.parametrize("name", ["energy_uj", "max_energy_range_uj"])
def test_a_counter_that_goes_away_is_an_error(powercap, name):
    counter = find_rapl(powercap)
    before = counter.read_j()
    set_energy(powercap, 0, 0)

    (powercap / "intel-rapl:0" / name).unlink()

    with pytest.raises(MeasurementError, match=f"cannot read RAPL counter .*{name}"):
        counter.used_j(before)


def test_energy_of_a_run_is_above_idle_and_never_negative(powercap, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("hwnas.profiling.rapl.time.perf_counter", lambda: now[0])
    counter = RaplCounter((powercap / "intel-rapl:0",))

    def run():
        now[0] += 0.1
        set_energy(powercap, 0, round(1_000_000 + now[0] * 5e6))  # 5 W

    assert counter.energy_of(run, idle_power_w=2.0) == pytest.approx(0.1 * (5 - 2), rel=1e-3)
    assert counter.energy_of(run, idle_power_w=50.0) == 0.0


def test_idle_power_is_energy_over_time(powercap, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("hwnas.profiling.rapl.time.perf_counter", lambda: now[0])
    counter = RaplCounter((powercap / "intel-rapl:0",))

    def sleep(seconds):
        now[0] += seconds
        set_energy(powercap, 0, 1_000_000 + round(3e6 * seconds))

    monkeypatch.setattr("hwnas.profiling.rapl.time.sleep", sleep)

    assert counter.idle_power_w(2.0) == pytest.approx(3.0)
