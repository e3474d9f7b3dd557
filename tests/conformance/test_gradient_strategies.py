"""Every gradient-based strategy that the package registers keeps the contract."""

import pytest
import torch

from hwnas.errors import PluginError
from hwnas.search import STRATEGIES
from hwnas.search.gradient.registry import GRADIENT_STRATEGIES, load_gradient_strategy
from hwnas.spaces.cell_operations import AVERAGE_POOL_3X3, SEPARABLE_3X3, SKIP_CONNECT
from hwnas.spaces.cells import CellLayout, CellSpace, cell_blocks, cell_sequence
from hwnas.testing.gradient_strategy_conformance import GradientStrategyConformance
from hwnas.testing.recipe_conformance import small_space

OF_CELLS = ("darts", "darts-2nd", "darts-pt", "drop-nas", "rome")
OF_SUBSETS = ("gold-nas",)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cells(edges):
    operations = (AVERAGE_POOL_3X3, SKIP_CONNECT, SEPARABLE_3X3)
    layout = CellLayout(
        cell_sequence(("normal", "reduction"), width=4, side=8),
        operations[1:] if edges == "subsets" else operations,
        2,
        edges=edges,
        is_shared=edges == "pairs",
    )
    blocks = cell_blocks(layout, channels=1, resolution=16, classes=10, stem_widths=(4,))
    return CellSpace(f"cells-of-{edges}", layout, blocks)


class TestGradientStrategies(GradientStrategyConformance):
    @pytest.fixture(params=sorted(GRADIENT_STRATEGIES))
    def name(self, request):
        return request.param

    @pytest.fixture
    def strategy(self, name):
        return load_gradient_strategy(name)

    @pytest.fixture
    def space(self, name):
        if name in OF_CELLS + OF_SUBSETS:
            return cells("subsets" if name in OF_SUBSETS else "pairs")
        return small_space()


def test_the_registry_names_each_strategy_by_its_own_name():
    assert all(load_gradient_strategy(name).name == name for name in GRADIENT_STRATEGIES)
    assert not set(GRADIENT_STRATEGIES) & set(STRATEGIES)


def test_an_unknown_strategy_is_refused_with_what_there_is():
    with pytest.raises(PluginError, match="available: darts"):
        load_gradient_strategy("none-such")
