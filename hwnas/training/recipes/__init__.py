"""Recipes for supernets, one file each; `RECIPES` names where each class is.

Plug-ins add theirs through the entry point group `hwnas.recipes`.
"""

from hwnas.errors import PluginError
from hwnas.plugins import available_classes, load_class
from hwnas.training.recipe import Recipe

__all__ = ["RECIPES", "available_recipes", "load_recipe"]

ENTRY_POINTS = "hwnas.recipes"

#: Name on the command line -> module and class.
RECIPES: dict[str, tuple[str, str]] = {
    "alphanet": ("hwnas.training.recipes.alphanet", "AlphaNet"),
    "attentive-nas-best-up": ("hwnas.training.recipes.attentive_nas", "AttentiveNasBestUp"),
    "attentive-nas-worst-up": ("hwnas.training.recipes.attentive_nas", "AttentiveNasWorstUp"),
    "bignas": ("hwnas.training.recipes.bignas", "BigNas"),
    "deps": ("hwnas.training.recipes.deps", "Deps"),
    "few-shot": ("hwnas.training.recipes.few_shot", "FewShot"),
    "gm-nas": ("hwnas.training.recipes.gm_nas", "GmNas"),
    "nas-lid": ("hwnas.training.recipes.nas_lid", "NasLid"),
    "ofa": ("hwnas.training.recipes.ofa", "Ofa"),
    "pa-da": ("hwnas.training.recipes.pa_da", "PaDa"),
    "prenas": ("hwnas.training.recipes.prenas", "PreNas"),
    "sandwich": ("hwnas.training.recipes.sandwich", "Sandwich"),
    "shift-nas": ("hwnas.training.recipes.shift_nas", "ShiftNas"),
    "spos": ("hwnas.training.recipes.spos", "Spos"),
    "spos-flops": ("hwnas.training.recipes.spos", "SposFlops"),
}


def available_recipes() -> tuple[str, ...]:
    """Names of all recipes, those of plug-ins included, sorted."""
    return available_classes(RECIPES, ENTRY_POINTS)


def load_recipe(name: str) -> type[Recipe]:
    """The class of that name.

    Raises:
        PluginError: There is no such recipe, or a plug-in's cannot be loaded.
    """
    found = load_class("recipe", RECIPES, ENTRY_POINTS, name)
    if not issubclass(found, Recipe):
        raise PluginError(f"recipe {name!r} is {found!r}, not a subclass of Recipe")
    return found
