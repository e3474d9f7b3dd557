from hwnas.costs import modelled_energy_j
from hwnas.graph import GraphCounts
from hwnas.targets import EnergyModel


def test_energy_is_linear_in_operations_and_in_bytes():
    model = EnergyModel("model", "none", 2.0, 3.0)

    counts = GraphCounts(macs=5, params=0, activation_bytes=7, weight_bytes=11, nodes=1)

    assert modelled_energy_j(counts, model) == 2 * 5 + 3 * (7 + 11)
