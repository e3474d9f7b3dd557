"""Recipes for supernets, one file each; `RECIPES` names where each class is.

Plug-ins add theirs through the entry point group `hwnas.recipes`.
"""

from importlib import import_module

from hwnas.errors import PluginError
from hwnas.plugins import load_plugin, plugins
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
    return tuple(sorted({*RECIPES, *plugins(ENTRY_POINTS)}))


def load_recipe(name: str) -> type[Recipe]:
    """The class of that name.

    Raises:
        PluginError: There is no such recipe, or a plug-in's cannot be loaded.
    """
    if name in RECIPES:
        module, attribute = RECIPES[name]
        found = getattr(import_module(module), attribute)
    elif name in plugins(ENTRY_POINTS):
        found = load_plugin(ENTRY_POINTS, name)
    else:
        known = ", ".join(available_recipes())
        raise PluginError(f"unknown recipe {name!r}; available: {known}")
    if not (isinstance(found, type) and issubclass(found, Recipe)):
        raise PluginError(f"recipe {name!r} is {found!r}, not a subclass of Recipe")
    return found
