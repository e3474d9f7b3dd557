import pytest

from hwnas import plugins as plugins_module
from hwnas.errors import PluginError, SpaceError
from hwnas.spaces import available_spaces, get_space
from hwnas.spaces import registry as module
from hwnas.spaces.mbconv_digits import mbconv_digits


class FakeEntry:
    def __init__(self, value):
        self.value = str(value)
        self._value = value

    def load(self):
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


@pytest.fixture
def installed(monkeypatch):
    entries = {
        "mine": FakeEntry(mbconv_digits),
        "broken": FakeEntry(ImportError("no module named x")),
        "number": FakeEntry(3),
        "list": FakeEntry(list),
    }
    monkeypatch.setattr(plugins_module, "plugins", lambda group: entries)
    monkeypatch.setattr(module, "plugins", lambda group: entries)
    get_space.cache_clear()
    yield
    get_space.cache_clear()


def test_our_spaces_are_there():
    assert {"mbconv-digits", "ofa-mbv3", "proxyless-mobile"} <= set(available_spaces())
    assert list(available_spaces()) == sorted(available_spaces())


@pytest.mark.parametrize("name", [*available_spaces(), "proxyless-mobile@64", "mbconv-digits@48"])
def test_a_space_is_made_once_and_knows_its_name(name):
    assert get_space(name).name == name
    assert get_space(name) is get_space(name)
    assert get_space(name).description


def test_the_default_image_side_may_be_written_out():
    assert get_space("proxyless-mobile@224").name == "proxyless-mobile"


def test_an_unknown_space_is_answered_with_those_there_are():
    with pytest.raises(
        SpaceError, match=r"unknown space 'dart'; available: .*mbconv-digits, nasbench201, ofa"
    ):
        get_space("dart")


@pytest.mark.parametrize(
    "name",
    ["@", "@abc", "@-64", "@0", "@15", "@1025", "@64.0", "@64@64", "@ 64", "@" + "9" * 5000, "@²"],
)
def test_an_image_side_that_makes_no_sense_is_refused(name):
    with pytest.raises(SpaceError, match="pixels from 16 to 1024, as in proxyless-mobile@128"):
        get_space(f"proxyless-mobile{name}")


def test_a_space_whose_factory_has_no_image_side_takes_none(installed):
    with pytest.raises(SpaceError, match="takes no image side: write 'list'"):
        get_space("list@128")


def test_a_plug_in_brings_a_space(installed):
    assert "mine" in available_spaces()
    assert get_space("mine").decisions == get_space("mbconv-digits").decisions
    assert get_space("mine@64").name == "mbconv-digits@64"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "'broken' .* fails: no module named x"),
        ("number", "must be a callable"),
        ("list", "must make a SearchSpace"),
    ],
)
def test_a_plug_in_that_makes_no_space_is_named(installed, name, message):
    with pytest.raises(PluginError, match=message):
        get_space(name)
