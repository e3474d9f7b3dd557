import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.backends import ModellingBackend, get_backend
from hwnas.errors import TargetError
from hwnas.graph import GraphBuilder
from hwnas.targets import PeakRates, get_target


def conv(channels=4):
    g = GraphBuilder("conv")
    g.output(g.conv(g.input("x", (1, 4, 8, 8)), channels, 3, name="conv", bias=True), "output")
    return g.build()


@given(
    macs_per_s=st.floats(1e3, 1e15),
    bandwidth=st.floats(1e3, 1e15),
    overhead=st.floats(0, 1),
)
def test_the_formula_is_a_roofline_and_linear_energy(macs_per_s, bandwidth, overhead):
    target = msgspec.structs.replace(
        get_target("simulated"), peak=PeakRates(macs_per_s, bandwidth, overhead)
    )
    macs = 8 * 8 * 4 * 4 * 9
    moved = 4 * (2 * 4 * 64 + 4 * 4 * 9 + 4)

    costs = get_backend(target).kernel_costs(conv(), target)

    assert costs == {
        "latency_s": pytest.approx(overhead + max(macs / macs_per_s, moved / bandwidth)),
        "energy_j": pytest.approx(4.6e-12 * macs + 12.5e-12 * moved),
    }


def test_it_models_and_works_everywhere():
    target = get_target("simulated")
    backend = get_backend(target)

    assert isinstance(backend, ModellingBackend)
    assert backend.provenance == "simulated"
    assert backend.is_available(target).works


def test_a_device_without_rates_is_refused_with_what_to_add():
    target = msgspec.structs.replace(get_target("simulated"), peak=None)
    backend = get_backend(target)

    found = backend.is_available(target)

    assert not found.works
    assert "add [peak]" in found.remedy
    with pytest.raises(TargetError, match=r"no \[peak\] rates"):
        backend.kernel_costs(conv(), target)
