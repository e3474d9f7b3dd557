from collections import Counter, OrderedDict
from importlib.metadata import EntryPoint

import pytest

from hwnas import plugins as module
from hwnas.errors import PluginError
from hwnas.plugins import available_classes, load_class, load_plugin, plugins

GROUP = "hwnas.spaces"


@pytest.fixture
def installed(monkeypatch):
    def install(*entries):
        made = [EntryPoint(name, value, GROUP) for name, value in entries]
        monkeypatch.setattr(module, "entry_points", lambda group: made)
        plugins.cache_clear()

    yield install
    plugins.cache_clear()


def test_an_entry_point_is_found_by_name_and_loaded_when_asked(installed):
    installed(("product", "math:prod"), ("broken", "no.such.module:thing"))

    assert list(plugins(GROUP)) == ["broken", "product"]
    assert load_plugin(GROUP, "product")([2, 3]) == 6


def test_of_equal_names_the_first_value_wins(installed):
    installed(("f", "math:sin"), ("f", "math:cos"))

    assert plugins(GROUP)["f"].value == "math:cos"


def test_a_missing_plug_in_is_answered_with_those_installed(installed):
    installed(("f", "math:sin"))

    with pytest.raises(PluginError, match=r"no hwnas\.spaces plug-in 'g'; installed: \['f'\]"):
        load_plugin(GROUP, "g")


@pytest.mark.parametrize("value", ["no.such.module:thing", "math:no_such_thing"])
def test_a_plug_in_that_cannot_be_loaded_is_named_with_its_cause(installed, value):
    installed(("bad", value))

    with pytest.raises(PluginError, match=f"'bad' \\({value}\\) fails: ") as caught:
        load_plugin(GROUP, "bad")

    assert caught.value.__cause__ is not None


def test_a_group_without_plug_ins_is_empty(installed):
    installed()

    assert plugins(GROUP) == {}


OWN = {"ordered": ("collections", "OrderedDict")}


def test_a_class_is_ours_or_a_plug_ins(installed):
    installed(("counted", "collections:Counter"), ("ordered", "collections:Counter"))

    assert available_classes(OWN, GROUP) == ("counted", "ordered")
    assert load_class("mapping", OWN, GROUP, "ordered") is OrderedDict
    assert load_class("mapping", OWN, GROUP, "counted") is Counter


def test_an_unknown_class_is_answered_with_those_there_are(installed):
    installed(("counted", "collections:Counter"))

    with pytest.raises(PluginError, match="unknown mapping 'm'; available: counted, ordered"):
        load_class("mapping", OWN, GROUP, "m")


def test_a_plug_in_that_is_no_class_is_refused(installed):
    installed(("f", "math:sin"))

    with pytest.raises(PluginError, match="mapping 'f' is a builtin_function_or_method"):
        load_class("mapping", OWN, GROUP, "f")
