import numpy as np
import pytest

from hwnas.costs import COUNTED_METRICS, count_costs
from hwnas.errors import SpaceError
from hwnas.graph import count_graph
from hwnas.spaces import available_spaces, get_space


@pytest.fixture(params=available_spaces())
def space(request):
    return get_space(request.param)


def test_counts_are_those_of_the_whole_network(space):
    costs = count_costs(space, COUNTED_METRICS)
    population = np.concatenate(
        [
            space.sample(2, np.random.default_rng(1)),
            [space.smallest().indices, space.largest().indices],
        ]
    ).astype(np.uint8)
    for row in population:
        counts = count_graph(space.network(space.architecture(row)))
        slots = [
            costs.slots[block][list(space.slots(block)).index(tuple(row[list(columns)]))]
            for block in range(len(space.blocks))
            for columns in [space.columns_of(block)]
        ]

        exact = costs.constant + np.sum(slots, axis=0)

        assert exact.tolist() == [getattr(counts, metric) for metric in COUNTED_METRICS]
        np.testing.assert_allclose(costs.cost(row[None])[0], exact, rtol=1e-6)


def test_by_default_operations_and_parameters_are_counted_and_marked_as_modelled(space):
    costs = count_costs(space)

    assert costs.metrics == ("macs", "params")
    assert costs.provenance == ("modelled", "modelled")
    assert costs.reductions == ("sum", "sum")
    assert costs.constant.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (("macs", "latency_s"), r"cannot count 'latency_s'; available: macs, params"),
        ((), "cannot count no metric"),
    ],
)
def test_what_cannot_be_counted_is_refused(metrics, message):
    with pytest.raises(SpaceError, match=message):
        count_costs(get_space("mbconv-digits"), metrics)
