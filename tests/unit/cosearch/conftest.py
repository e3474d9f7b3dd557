import numpy as np
import pytest

from hwnas.accelerators import get_technology
from hwnas.cosearch import (
    CoSearchOptions,
    DesignEvaluator,
    Problem,
    Specs,
    TaskErrors,
    tabulate_costs,
)
from hwnas.estimators.synthetic import SyntheticEstimator
from hwnas.spaces import AcceleratorSpace, get_space


class CountingEstimator(SyntheticEstimator):
    """Counts how often it is asked."""

    def __init__(self, space):
        super().__init__(space)
        self.asked = []

    def error(self, population):
        self.asked.append(population.copy())
        return super().error(population)


def _small_spaces():
    classifier = get_space("resnet9").restricted(
        "small-resnet9",
        {
            "stage1.skips": (0,),
            "stage2.filters": (64,),
            "stage2.skips": (0,),
            "stage3.filters": (64,),
            "stage3.skips": (0, 1),
        },
    )
    segmenter = get_space("unet").restricted(
        "small-unet", {"height": (1, 2), "level3.filters": (16,), "level4.filters": (32,)}
    )
    return classifier, segmenter


@pytest.fixture(scope="session")
def tables():
    chips = AcceleratorSpace(
        "small-chips",
        2,
        ("dla", "shi", "rs"),
        (0, 128, 256, 512),
        (8, 16, 32),
        pes_budget=768,
        bandwidth_budget=48,
    )
    return tabulate_costs(_small_spaces(), chips, get_technology("maestro2020"))


@pytest.fixture(scope="session")
def middling_specs(tables):
    """Specs that about a tenth to a third of random designs meet."""
    drawn = tables.joint.sample(400, np.random.default_rng(0))
    costs = DesignEvaluator(tables, Specs()).costs(drawn)
    return Specs(*np.percentile(costs, 45.0, axis=0).tolist())


@pytest.fixture
def make_problem(tables, middling_specs):
    def make(specs=middling_specs):
        estimators = [CountingEstimator(program.space) for program in tables.programs]
        errors = TaskErrors(tables.joint, estimators, (0.5, 0.5))
        return Problem(DesignEvaluator(tables, specs), errors), estimators

    return make


@pytest.fixture
def options():
    return CoSearchOptions(episodes=12, hardware_steps=4, chips=50)
