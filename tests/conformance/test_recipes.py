"""Every recipe that the package registers keeps the contract."""

import pytest
import torch

from hwnas.errors import PluginError
from hwnas.testing.recipe_conformance import RecipeConformance
from hwnas.training.recipes import RECIPES, load_recipe


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class TestRecipes(RecipeConformance):
    @pytest.fixture(params=sorted(RECIPES))
    def recipe(self, request):
        return load_recipe(request.param)


def test_the_registry_names_each_recipe_by_its_own_name():
    assert all(load_recipe(name).name == name for name in RECIPES)


def test_an_unknown_recipe_is_refused_with_what_there_is():
    with pytest.raises(PluginError, match="available: alphanet"):
        load_recipe("none-such")
