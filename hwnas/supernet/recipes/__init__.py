"""Recipes for supernets, one file each; `RECIPES` names where each class is.

Plug-ins add theirs through the entry point group `hwnas.recipes`.
"""

from importlib import import_module

from hwnas.errors import PluginError
from hwnas.plugins import load_plugin, plugins
from hwnas.supernet.recipe import Recipe

__all__ = ["RECIPES", "available_recipes", "load_recipe"]

ENTRY_POINTS = "hwnas.recipes"

#: Name on the command line -> module and class.
RECIPES: dict[str, tuple[str, str]] = {
    "alphanet": ("hwnas.supernet.recipes.alphanet", "AlphaNet"),
    "attentive-nas-best-up": ("hwnas.supernet.recipes.attentive_nas", "AttentiveNasBestUp"),
    "attentive-nas-worst-up": ("hwnas.supernet.recipes.attentive_nas", "AttentiveNasWorstUp"),
    "bignas": ("hwnas.supernet.recipes.bignas", "BigNas"),
    "deps": ("hwnas.supernet.recipes.deps", "Deps"),
    "few-shot": ("hwnas.supernet.recipes.few_shot", "FewShot"),
    "gm-nas": ("hwnas.supernet.recipes.gm_nas", "GmNas"),
    "nas-lid": ("hwnas.supernet.recipes.nas_lid", "NasLid"),
    "ofa": ("hwnas.supernet.recipes.ofa", "Ofa"),
    "pa-da": ("hwnas.supernet.recipes.pa_da", "PaDa"),
    "prenas": ("hwnas.supernet.recipes.prenas", "PreNas"),
    "sandwich": ("hwnas.supernet.recipes.sandwich", "Sandwich"),
    "shift-nas": ("hwnas.supernet.recipes.shift_nas", "ShiftNas"),
    "spos": ("hwnas.supernet.recipes.spos", "Spos"),
    "spos-flops": ("hwnas.supernet.recipes.spos", "SposFlops"),
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
