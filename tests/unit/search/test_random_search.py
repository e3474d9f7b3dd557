import numpy as np

from hwnas.search import RandomSearch
from hwnas.testing.strategy_conformance import ToySpace


def test_what_it_is_told_does_not_change_where_it_looks():
    asked = []
    for value in (0.0, 1.0):
        strategy = RandomSearch(ToySpace(), rng=np.random.default_rng(0), population_size=7)
        rows = []
        for _ in range(5):
            population = strategy.ask()
            strategy.tell(population, np.full((7, 2), value), np.full(7, value))
            rows.append(population)
        asked.append(np.concatenate(rows))

    assert np.array_equal(*asked)


def test_every_option_is_drawn_about_equally_often():
    strategy = RandomSearch(
        ToySpace((5,) * 12), rng=np.random.default_rng(0), population_size=5000
    )

    population = strategy.ask()

    # 1000 expected of each, standard deviation 28. The last decision is conditional.
    counts = np.stack([(population[:, :-1] == option).sum(axis=0) for option in range(5)])
    assert (abs(counts - 1000) < 150).all()
