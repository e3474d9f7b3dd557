"""NAS-Bench-201 as a space of networks, NAS-Bench-101 as one of cells."""

import os
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import SpaceError
from hwnas.graph import count_graph
from hwnas.spaces import get_space, nasbench101
from hwnas.spaces.nasbench101 import EDGES

PUBLISHED = Path(
    os.environ.get("HWNAS_PUBLISHED_DATA") or Path(__file__).parents[4] / "shared/data"
)


def test_parameters_are_those_published():
    """NAS-Bench-201's own counts, in millions."""
    if not (PUBLISHED / "nb201/cost.npz").is_file():
        pytest.skip("no nb201/cost.npz; set HWNAS_PUBLISHED_DATA")
    space = get_space("nasbench201")
    cells = np.load(PUBLISHED / "nb201/latency.npz", allow_pickle=False)["arch"]
    cost = np.load(PUBLISHED / "nb201/cost.npz", allow_pickle=False)
    column = [str(name) for name in cost["columns"]].index("cifar10_mparams")

    for i in np.random.default_rng(0).choice(len(cells), 6, replace=False):
        network = space.network(space.architecture(cells[i]))
        assert count_graph(network).params / 1e6 == pytest.approx(
            float(cost["values"][i, column]), rel=1e-6
        )


def test_a_cell_of_nothing_is_zero():
    space = get_space("nasbench201")

    kinds = {node.op_type for node in space.network(space.smallest()).nodes}

    assert "Mul" in kinds
    assert space.smallest().indices == (0,) * 6
    assert space.largest().indices == (3,) * 6
    assert not space.is_ordered


def test_a_cell_of_nasbench201_has_24_neighbours():
    space = get_space("nasbench201")

    near = space.neighbours(space.largest().row())

    assert len(np.unique(near, axis=0)) == 24
    assert ((near != space.largest().row()).sum(axis=1) == 1).all()


def test_cells_of_nasbench101_are_valid_and_canonical():
    space = nasbench101()

    population = space.sample(500, np.random.default_rng(0))

    assert space.is_valid(population).all()
    assert population[:, : len(EDGES)].sum(axis=1).max() <= 9
    assert np.array_equal(space.canonicalise(population), population)
    for row in population[:20]:
        near = space.neighbours(row)
        assert space.is_valid(near).all()
        assert not (near == row).all(axis=1).any()


def test_dead_vertices_of_nasbench101_leave_no_trace():
    space = nasbench101()
    row = np.zeros((2, 26), dtype=np.uint8)
    row[:, EDGES.index((0, 6))] = 1
    row[1, EDGES.index((0, 2))] = row[1, EDGES.index((3, 6))] = row[1, len(EDGES) + 1] = 1

    one, other = space.canonicalise(row)

    assert np.array_equal(one, other)
    assert not space.is_valid(np.zeros((1, 26), dtype=np.uint8)).any()
    with pytest.raises(SpaceError, match="row 0"):
        space.is_valid(np.full((1, 26), 9))
