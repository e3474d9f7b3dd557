"""A small space of cells, and problems on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwnas.costs.counted import count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.datasets.dataset import load_dataset
from hwnas.search.budgets import Budget, Budgets
from hwnas.search.gradient.hardware_loss import make_hardware_loss
from hwnas.search.gradient.strategy import GradientProblem
from hwnas.spaces.cell_operations import AVERAGE_POOL_3X3, SEPARABLE_3X3, SKIP_CONNECT
from hwnas.spaces.cells import CellLayout, CellSpace, cell_blocks, cell_sequence
from hwnas.training.options import TrainingOptions


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def cell_space():
    """A normal and a reduction cell of two nodes and three operations at 8x8 pixels."""
    cells = cell_sequence(("normal", "reduction"), width=4, side=8)
    layout = CellLayout(cells, (AVERAGE_POOL_3X3, SKIP_CONNECT, SEPARABLE_3X3), 2)
    blocks = cell_blocks(layout, channels=1, resolution=8, classes=10, stem_widths=(4,))
    return CellSpace("tiny-cells", layout, blocks)


@pytest.fixture(scope="session")
def cell_costs(cell_space):
    return count_costs(cell_space, ["macs"])


@pytest.fixture(scope="session")
def small_digits():
    """64 training and 64 validation images of 8x8 pixels."""
    full = load_dataset("digits", resolution=8)
    parts = {
        f"{kind}_{split}": getattr(full, f"{kind}_{split}")[:64]
        for kind in "xy"
        for split in ("train", "val")
    }
    return replace(full, **parts)


@pytest.fixture
def cell_problem(cell_costs, small_digits, one_thread):
    """Makes problems on the small space of cells."""
    del one_thread

    def make(costs=cell_costs, *, seed=0, weight=1.0, dataset=small_digits, **options):
        largest = costs.cost(costs.space.largest().row()[None])[0].tolist()
        given = {"epochs": 2, "batch_size": 16, "augmentation": None, "learning_rate": 0.1}
        return GradientProblem(
            costs.space,
            dataset,
            costs,
            Budgets((Budget("macs", largest[0] / 2),)),
            DifferentiableCosts(costs),
            make_hardware_loss("log", largest=largest, weight=weight),
            TrainingOptions(**(given | options)),
            np.random.default_rng(seed),
            torch.Generator().manual_seed(seed),
        )

    return make
