import msgspec
import pytest

from hwnas import plugins as plugins_module
from hwnas.backends import Availability, available_backends, get_backend
from hwnas.backends import registry as module
from hwnas.errors import PluginError, TargetError
from hwnas.targets import get_target


class Complete:
    name = "complete"

    def is_available(self, target):
        return Availability(True, "always")

    def runtime(self, target):
        return "complete 1"


class Incomplete:
    name = "incomplete"


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
        "complete": FakeEntry(Complete),
        "incomplete": FakeEntry(Incomplete),
        "number": FakeEntry(3),
        "chosen": FakeEntry(lambda target: Complete() if target.gpu is None else None),
        "broken": FakeEntry(ImportError("no tvm")),
    }
    monkeypatch.setattr(plugins_module, "plugins", lambda group: entries)
    monkeypatch.setattr(module, "plugins", lambda group: entries)


def target_of(backend):
    return msgspec.structs.replace(get_target("simulated"), backend=backend)


def test_our_backends_are_installed():
    assert {"onnxruntime", "simulated"} <= set(available_backends())
    assert get_backend(get_target("cpu")).name == "onnxruntime"


def test_a_target_that_names_no_backend_is_answered_with_those_there_are():
    with pytest.raises(TargetError, match=r"wants backend 'fpga'; installed: .*onnxruntime"):
        get_backend(target_of("fpga"))


def test_a_plug_in_brings_a_backend(installed):
    assert "complete" in available_backends()
    assert isinstance(get_backend(target_of("complete")), Complete)


def test_a_function_chooses_a_backend_by_the_target(installed):
    assert isinstance(get_backend(target_of("chosen")), Complete)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("incomplete", "lacks a method"),
        ("number", "neither a class nor a function"),
        ("broken", "fails: no tvm"),
    ],
)
def test_a_plug_in_that_is_no_backend_is_named(installed, name, message):
    with pytest.raises(PluginError, match=f"'{name}'.*{message}"):
        get_backend(target_of(name))
