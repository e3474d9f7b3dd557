import importlib
import sys

import pytest

from hwnas.errors import PluginError


@pytest.mark.parametrize(
    "part", ["annotation", "cost_model", "cost_recorder", "pass_recorder", "pipeline"]
)
def test_without_tvm_the_remedy_is_named(part, monkeypatch):
    monkeypatch.setitem(sys.modules, "tvm", None)
    for name in list(sys.modules):
        if name.startswith("hwnas.compilers.tvm_"):
            monkeypatch.delitem(sys.modules, name)

    with pytest.raises(PluginError, match=r"inside TVM.*pip install 'hwnas\[tvm\]'"):
        importlib.import_module(f"hwnas.compilers.tvm_{part}")
