"""Every strategy that the package registers keeps the contract."""

import pytest

from hwnas.search import STRATEGIES, PopulationSpace, Strategy
from hwnas.testing.strategy_conformance import StrategyConformance, ToySpace


@pytest.fixture(params=sorted(STRATEGIES), scope="class")
def strategy_class(request):
    return STRATEGIES[request.param]


class TestStrategies(StrategyConformance):
    @pytest.fixture
    def make_strategy(self, strategy_class):
        return strategy_class

    def test_the_class_has_the_protocols_methods(self, strategy_class):
        assert all(hasattr(strategy_class, name) for name in ("ask", "tell", "state", "restore"))
        assert issubclass(strategy_class, Strategy)


def test_the_registry_names_each_strategy_by_its_own_name():
    assert set(STRATEGIES) == {"random", "regularized-evolution", "nsga2", "predictor-guided"}
    assert all(strategy.name == name for name, strategy in STRATEGIES.items())


def test_the_toy_space_is_a_population_space():
    assert isinstance(ToySpace(), PopulationSpace)
